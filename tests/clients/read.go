// Prints the data of a stream's events, one line each, as JSON arrays: name, data.
//
//	go run read.go URL
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	name, data := "", []string{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "" && len(data) > 0:
			event, _ := json.Marshal([]string{name, strings.Join(data, "\n")})
			fmt.Println(string(event))
			name, data = "", nil
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = append(data, line[len("data: "):])
		}
	}
}
