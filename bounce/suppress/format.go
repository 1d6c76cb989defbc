package suppress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"
)

// The file is a log of text lines. The first one is firstLine. Each further one is the CRC-32C of a record in eight
// hexadecimal digits, a space, and the record in JSON:
//
//	{"op":"add","synced":21,"address":"ann@example.net","source":"bounce","reason":"user-unknown","time":"…"}
//
// A crash can leave lines that aren't whole, and zeros, after the octet up to which the file was synced. Each record
// has the number of that octet, as it was when the record was written. So a bad line before the highest number is
// damage, and one after it is the end of a crash.
const firstLine = "postrider suppress 1\n"

// maxLine bounds a line in octets. The JSON of a text may have six times as many octets as the text.
const maxLine = 16 << 10

type op string

const (
	opAdd     op = "add"
	opRemove  op = "remove"
	opTally   op = "tally" // all strikes of the Key, Source and Reason
	opForgive op = "forgive"
)

type record struct {
	Op     op    `json:"op"`
	Synced int64 `json:"synced,omitempty"`
	Entry
	Count  int           `json:"count,omitempty"`
	First  time.Time     `json:"first,omitzero"`
	Within time.Duration `json:"within,omitempty"`
	IDs    []string      `json:"ids,omitempty"`
}

func tallyRecord(k Key, t tally) record {
	return record{
		Op: opTally, Entry: Entry{Key: k, Source: t.strike.Source, Reason: t.strike.Reason, Time: t.strike.Time},
		Count: t.Count, First: t.First, Within: t.strike.Within, IDs: t.ids,
	}
}

// apply does to s what the record says. It reports whether the record makes sense.
func (r *record) apply(s *state) bool {
	if k, err := KeyOf(r.Tenant, r.Address); err != nil || k != r.Key {
		return false
	}
	switch r.Op {
	case opAdd:
		s.add(r.Entry)
	case opRemove:
		s.remove(r.Key)
	case opForgive:
		s.forgive(r.Key)
	case opTally:
		if r.Count < 1 || len(r.IDs) > maxIDs {
			return false
		}
		last := Strike{Source: r.Source, Reason: r.Reason, Time: r.Time, Within: r.Within}
		t := tally{Tally{r.Count, r.First}, last, r.IDs}
		s.set(r.Key, t)
	default:
		return false
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends the line of a record.
func appendLine(b []byte, r *record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return b, err
	}
	if len(text)+len("01234567 \n") > maxLine {
		return b, fmt.Errorf("the record has %d octets", len(text))
	}
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(text, castagnoli))
	return append(append(b, text...), '\n'), nil
}

// parseLine is the reverse of appendLine, for a line with its end.
func parseLine(line []byte) (r record, ok bool) {
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	if !whole || len(text) < 9 || text[8] != ' ' {
		return r, false
	}
	sum, err := strconv.ParseUint(string(text[:8]), 16, 32)
	if err != nil || crc32.Checksum(text[9:], castagnoli) != uint32(sum) {
		return r, false
	}
	return r, json.Unmarshal(text[9:], &r) == nil
}

// found is what reading a file found.
type found struct {
	state   state
	records int  // in the file
	torn    bool // the file must be written anew: a crash left a part of a line
}

// read reads a file. Memory doesn't grow with the number of its lines, only with that of its entries.
func read(r io.Reader) (found, error) {
	var f found
	in := bufio.NewReaderSize(r, maxLine)
	first, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return f, err
	}
	if string(first) != firstLine {
		if bytes.HasPrefix([]byte(firstLine), first) && errors.Is(err, io.EOF) {
			f.torn = true // by a crash in Open
			return f, nil
		}
		return f, fmt.Errorf("its first line isn't %q: it is another file, or one of a newer program", firstLine)
	}
	at, synced := int64(len(firstLine)), int64(0)
	bad, badLine := int64(-1), 0
	for n := 2; ; n++ {
		line, err := in.ReadSlice('\n')
		size := int64(len(line))
		for errors.Is(err, bufio.ErrBufferFull) { // no line of ours
			line, err = in.ReadSlice('\n')
			size += int64(len(line))
			line = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return f, err
		}
		if size == 0 {
			break
		}
		if rec, ok := parseLine(line); !ok || !rec.apply(&f.state) {
			if bad < 0 {
				bad, badLine = at, n
			}
			f.torn = true
		} else {
			f.records++
			synced = max(synced, rec.Synced)
		}
		at += size
	}
	if bad >= 0 && bad < synced {
		return f, fmt.Errorf("line %d is damaged: restore the file, or remove the line to go on without it", badLine)
	}
	return f, nil
}
