#!/bin/sh
# Repeats a message word by word, like a response that is generated while it is read.
# Replace it by the program that makes your responses.
#
#   echo 'How are you?' | examples/answer.sh
#
# The message is on stdin. Each output line is a piece of the response, and the pieces are
# joined unchanged; an empty line is a line break.
#
# The message is untrusted, so it is only read and printed: no word of it is run, used as a
# file name pattern (-f), as an option or as a format.
set -fu

while IFS= read -r line || [ -n "$line" ]; do
    for word in $line; do
        printf '%s \n' "$word"
        sleep 0.15
    done
    echo
done
