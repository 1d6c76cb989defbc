package greylist

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/server/internal/recent"
)

// The file has lines of text. Times are in nanoseconds since 1970.
//
//	postrider greylist 1
//	pending <hash of the triplet> <first seen> <until>
//	allowed <network> <until>
//	end <number of the lines between>
const (
	firstLine = "postrider greylist 1"
	lastLine  = "end "
)

// save writes the file, if there are changes. f.saving is held.
func (f *File) save() error {
	f.mu.Lock()
	if f.path == "" || !f.dirty {
		f.mu.Unlock()
		return nil
	}
	f.dirty = false
	pending, allowed := f.pending.Clone(), f.allowed.Clone()
	f.mu.Unlock()

	err := replace(f.path, encode(pending, allowed, time.Now().UnixNano()))
	if err != nil {
		f.mu.Lock()
		f.dirty = true
		f.mu.Unlock()
	}
	return err
}

// encode returns the content of the file, without the entries that have expired.
func encode(pending recent.Map[key, span], allowed recent.Map[netip.Prefix, int64], now int64) []byte {
	b := append([]byte(firstLine), '\n')
	lines := 0
	pending.Each(func(k key, s span) {
		if s.until < now {
			return
		}
		b = hex.AppendEncode(append(b, "pending "...), k[:])
		b = strconv.AppendInt(append(b, ' '), s.since, 10)
		b = strconv.AppendInt(append(b, ' '), s.until, 10)
		b = append(b, '\n')
		lines++
	})
	allowed.Each(func(network netip.Prefix, until int64) {
		if until < now {
			return
		}
		b = network.AppendTo(append(b, "allowed "...))
		b = strconv.AppendInt(append(b, ' '), until, 10)
		b = append(b, '\n')
		lines++
	})
	return append(strconv.AppendInt(append(b, lastLine...), int64(lines), 10), '\n')
}

// replace writes a file beside the one at path, and renames it.
func replace(path string, data []byte) error {
	temp := path + ".new"
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync() // before the rename: else the name could lead to an empty file after a crash
	}
	if err = errors.Join(err, file.Close()); err == nil {
		// Whether a crash undoes the rename doesn't matter: the older file is whole, too.
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// read reads the file.
func (f *File) read() error {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	const hint = ": restore it, or remove it to begin without what it has"
	lines := bufio.NewScanner(bytes.NewReader(data))
	if !lines.Scan() || lines.Text() != firstLine {
		return fmt.Errorf("its first line isn't %q%s", firstLine, hint)
	}
	n := 0
	for lines.Scan() {
		if count, ok := strings.CutPrefix(lines.Text(), lastLine); ok {
			if count != strconv.Itoa(n) || lines.Scan() {
				break
			}
			return nil
		}
		if !f.entry(strings.Fields(lines.Text())) {
			return fmt.Errorf("line %d isn't an entry%s", n+2, hint)
		}
		n++
	}
	return fmt.Errorf("it isn't whole, it ends after %d entries%s", n, hint)
}

// entry keeps an entry of the file, and reports whether it is one.
func (f *File) entry(words []string) bool {
	switch {
	case len(words) == 4 && words[0] == "pending":
		hash, err1 := hex.DecodeString(words[1])
		since, err2 := strconv.ParseInt(words[2], 10, 64)
		until, err3 := strconv.ParseInt(words[3], 10, 64)
		if errors.Join(err1, err2, err3) != nil || len(hash) != len(key{}) {
			return false
		}
		f.pending.Put(key(hash), span{since, until}, f.maxPending, func(span) bool { return true })
	case len(words) == 3 && words[0] == "allowed":
		network, err1 := netip.ParsePrefix(words[1])
		until, err2 := strconv.ParseInt(words[2], 10, 64)
		if errors.Join(err1, err2) != nil {
			return false
		}
		f.allowed.Put(network, until, f.maxAllowed, func(int64) bool { return true })
	default:
		return false
	}
	return true
}
