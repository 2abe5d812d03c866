#!/bin/sh
# Says a message back, a word at a time: what an answer that is made while one reads it
# looks like. It stands for whatever makes yours.
#
#   echo 'How are you?' | examples/answer.sh
#
# The message comes on stdin. Each line that goes out is a piece of the answer, and the
# pieces are put together as they are; an empty one is the end of a line.
#
# What somebody else wrote is only ever read and printed here: no word of it is run, none
# is a pattern for file names (-f), and none is an option or a format.
set -fu

while IFS= read -r line || [ -n "$line" ]; do
    for word in $line; do
        printf '%s \n' "$word"
        sleep 0.15
    done
    echo
done
