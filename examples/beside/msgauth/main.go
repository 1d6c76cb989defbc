// Msgauth verifies mails by go-msgauth, for tests of package dkim that ask several verifiers:
//
//	go run ./msgauth DIRECTORY
//
// The directory has the file "keys", lines of a name, a space and a TXT record, and the file "mails", each mail after a
// line with its size. Msgauth prints "good" for each mail that has a signature, if all of its signatures are good, and
// else "broken".
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

func main() {
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "msgauth:", err)
		os.Exit(1)
	}
}

func run(dir string, out io.Writer) error {
	zone, err := os.ReadFile(filepath.Join(dir, "keys"))
	if err != nil {
		return err
	}
	keys := make(map[string]string)
	for line := range strings.Lines(string(zone)) {
		name, record, _ := strings.Cut(strings.TrimSpace(line), " ")
		keys[name] = record
	}
	file, err := os.Open(filepath.Join(dir, "mails"))
	if err != nil {
		return err
	}
	defer file.Close()
	for mails := bufio.NewReader(file); ; {
		line, err := mails.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		size, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return err
		}
		mail := make([]byte, size)
		if _, err := io.ReadFull(mails, mail); err != nil {
			return err
		}
		fmt.Fprintln(out, verdict(mail, keys))
	}
}

func verdict(mail []byte, keys map[string]string) string {
	list, err := dkim.VerifyWithOptions(bytes.NewReader(mail), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			return []string{keys[strings.ToLower(strings.TrimSuffix(name, "."))]}, nil
		},
	})
	if err != nil || len(list) == 0 {
		return "broken"
	}
	for _, v := range list {
		if v.Err != nil {
			return "broken"
		}
	}
	return "good"
}
