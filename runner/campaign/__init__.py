"""The Acoustic Campaign API as documented: where it is, what it answers, its tokens, its slots, its calls."""
