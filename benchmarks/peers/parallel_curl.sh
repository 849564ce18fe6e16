#!/bin/sh
# A shell one-liner grown up: GNU parallel starts one curl for each row, ten at a time.
#   parallel_curl.sh http://127.0.0.1:8180 jobs.csv
set -eu
exec parallel --will-cite --quote --jobs 10 --colsep , --header : --arg-file "$2" \
    curl --silent --show-error --fail --output /dev/null \
    --header 'Authorization: Bearer stub-token' --header 'Content-Type: application/json' \
    --data '{"messageName":"{messageName}","contactSourceId":{contactSourceId},"externalSystemName":"{externalSystemName}","externalSystemReferenceId":"{externalSystemReferenceId}","scheduledDate":"{scheduledDate}","preBlockingHours":{preBlockingHours},"folder":"{folder}"}' \
    "$1/rest/channels/sms/publishedmessages/{publishedMessageId}/sendjobs"
