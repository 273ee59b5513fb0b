//go:build ignore

// Writes suffixes.txt anew from the Public Suffix List:
//
//	go run suffixes_make.go < public_suffix_list.dat > suffixes.txt
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

func main() {
	kinds := map[string]string{}
	registry := true
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		rule, _, _ := strings.Cut(in.Text(), " ")
		switch {
		case strings.Contains(in.Text(), "===BEGIN PRIVATE DOMAINS==="):
			registry = false
			continue
		case rule == "" || strings.HasPrefix(rule, "//"):
			continue
		}
		kind := "p"
		if registry {
			kind = "r"
		}
		if below, ok := strings.CutPrefix(rule, "*."); ok {
			rule, kind = below, strings.ToUpper(kind)
		} else if name, ok := strings.CutPrefix(rule, "!"); ok {
			rule, kind = name, "e"
		}
		name, err := idna.ToASCII(rule)
		if err != nil {
			log.Fatal(err)
		}
		kinds[strings.ToLower(name)] += kind
	}
	if err := in.Err(); err != nil {
		log.Fatal(err)
	}
	var lines []string
	for name, kind := range kinds {
		lines = append(lines, name+" "+kind+"\n")
	}
	slices.Sort(lines)
	fmt.Print(`# The Public Suffix List (https://publicsuffix.org/list/), in another form: each name with r where a registry gives
# out names below it, p where a company does, R and P where that is so for every name below it, e where it is an
# exception from that. This file is subject to the terms of the Mozilla Public License, v. 2.0
# (https://mozilla.org/MPL/2.0/). Written by suffixes_make.go.
`)
	fmt.Print(strings.Join(lines, ""))
}
