package spool

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/queue/internal/index"
)

// TestFormat1Cut cuts entries of version 1 short, after each octet: none of what is left is read as one.
func TestFormat1Cut(t *testing.T) {
	files, _ := fixture(t, "format1")
	entries := map[uint8]int{}
	messages := map[uint64]*index.Message{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, segmentSuffix) {
			continue
		}
		for _, at := range records(t, files[name]) {
			err := eachEntry(files[name][at.from+recordHeaderLen:at.to], func(_ int, entry []byte) error {
				h, fields, err := entryFields(entry)
				if err != nil {
					return err
				}
				entries[h.kind]++
				read := func(b []byte) error {
					switch h.kind {
					case entryMessage1:
						m, err := decodeMessage1(b, false)
						if err == nil {
							messages[m.ID] = m
						}
						return err
					case entryState1:
						_, err := decodeState1(h, b, messages[entryID(h, fields)])
						return err
					}
					_, err := decodeMark(h, b)
					return err
				}
				for n := range fields {
					if err := read(fields[:n]); err != errEntry {
						t.Errorf("kind %d, %d of %d octets: got %v, want %v", h.kind, n, len(fields), err, errEntry)
					}
				}
				return read(fields)
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for kind := uint8(entryMessage1); kind <= entryRemoval1; kind++ {
		if entries[kind] == 0 {
			t.Errorf("got no entry of kind %d", kind)
		}
	}
}

// TestDecoder1Refuses reads numbers of version 1 that aren't whole, or too large: each fails, and so does all after it.
func TestDecoder1Refuses(t *testing.T) {
	long := bytes.Repeat([]byte{0xff}, 11)
	for _, tt := range []struct {
		name string
		b    []byte
		read func(d *decoder1)
	}{
		{"uvarint, nothing", nil, func(d *decoder1) { d.uvarint() }},
		{"uvarint, cut", []byte{0x80}, func(d *decoder1) { d.uvarint() }},
		{"uvarint, too long", long, func(d *decoder1) { d.uvarint() }},
		{"varint, nothing", nil, func(d *decoder1) { d.varint() }},
		{"varint, cut", []byte{0x80}, func(d *decoder1) { d.varint() }},
		{"varint, too long", long, func(d *decoder1) { d.varint() }},
		{"below, too large", []byte{5, 0}, func(d *decoder1) { d.below(5) }},
		{"string, cut", []byte{2, 'a'}, func(d *decoder1) { _ = d.string() }},
		{"octets, cut", []byte{1, 2, 3}, func(d *decoder1) { d.uint32() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := decoder1{b: tt.b}
			if tt.read(&d); !d.failed {
				t.Error("got no failure")
			}
			d.b = append(d.b, 1, 1, 1, 1)
			if n := d.uvarint(); n != 0 || d.varint() != 0 || d.byte() != 0 || d.below(9) != 0 || !d.failed {
				t.Errorf("got %d read after the failure, want zeros", n)
			}
		})
	}
}
