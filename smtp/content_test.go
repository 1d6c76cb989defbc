package smtp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
)

func TestScan(t *testing.T) {
	x998 := strings.Repeat("x", 998)
	tests := []struct {
		name    string
		content string
		want    smtp.Facts
	}{
		{"empty", "", smtp.Facts{}},
		{"ASCII", "A: b\r\n\r\nc\r\n", smtp.Facts{}},
		{"header", "A: \xc3\xbc\r\n\r\nc\r\n", smtp.Facts{EightBit: true, HeaderUTF8: true}},
		{"header that isn't UTF-8", "A: \xfc\r\n\r\nc\r\n", smtp.Facts{EightBit: true}},
		{"header of UTF-8 and else", "A: \xc3\xbc\r\nB: \xfc\r\n\r\nc\r\n", smtp.Facts{EightBit: true}},
		{"header that ends within a character", "A: \xc3\r\n\r\nc\r\n", smtp.Facts{EightBit: true}},
		{"header and body", "A: \xfc\r\n\r\n\xfc\r\n", smtp.Facts{EightBit: true, EightBitBody: true}},
		{"UTF-8 header, other body", "A: \xc3\xbc\r\n\r\n\xfc\r\n", smtp.Facts{EightBit: true, EightBitBody: true, HeaderUTF8: true}},
		{"body", "A: b\r\n\r\n\xc3\xbc\r\n", smtp.Facts{EightBit: true, EightBitBody: true}},
		{"body only", "\r\n\xc3\xbc\r\n", smtp.Facts{EightBit: true, EightBitBody: true}},
		{"header only", "A: b\r\n\xc3\xbc", smtp.Facts{EightBit: true, HeaderUTF8: true}},
		{"last octet", "A: b\r\n\r\n" + x998 + "\x80", smtp.Facts{EightBit: true, EightBitBody: true, LongLine: true}},
		{"998 octets", x998 + "\r\n" + x998 + "\r\n", smtp.Facts{}},
		{"998 octets without end", "\r\n" + x998, smtp.Facts{}},
		{"999 octets", x998 + "\r\nx" + x998 + "\r\n", smtp.Facts{LongLine: true}},
		{"999 octets without end", "\r\nx" + x998, smtp.Facts{LongLine: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := smtp.Scan(strings.NewReader(tt.content))
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestScanBinary(t *testing.T) {
	const chunk = 32 << 10
	long := strings.Repeat("0123456789abcd\r\n", chunk/16)
	tests := []struct {
		name    string
		content string
		want    smtp.Facts
	}{
		{"text", "A: b\r\n\r\nc\r\n", smtp.Facts{}},
		{"bare LF", "A: b\r\n\r\nc\n", smtp.Facts{Binary: true}},
		{"bare CR", "A: b\r\n\r\nc\rd", smtp.Facts{Binary: true}},
		{"CR at the end", "A: b\r\n\r\nc\r", smtp.Facts{Binary: true}},
		{"NUL, then more", "A: b\r\n\r\n\x00" + long + "\xff", smtp.Facts{Binary: true, EightBit: true, EightBitBody: true}},
		{"CR at the end of a chunk", long[:chunk-1] + "\r" + long, smtp.Facts{Binary: true}},
		{"CRLF over the end of a chunk", "xx" + long[:chunk-3] + "\r\n" + long, smtp.Facts{}},
		{"nothing but CR", strings.Repeat("\r", 2*chunk), smtp.Facts{Binary: true, LongLine: true}},
		{"UTF-8 header", "A: \xc3\xbc\n\r\n\r\nc\r\n", smtp.Facts{Binary: true, EightBit: true, HeaderUTF8: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := smtp.ScanBinary(strings.NewReader(tt.content))
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
			if _, err := smtp.Scan(strings.NewReader(tt.content)); (err != nil) != tt.want.Binary {
				t.Errorf("Scan: got %v, want an error: %v", err, tt.want.Binary)
			}
		})
	}
}

// scanReference is Scan by the definitions of its facts, for good content.
func scanReference(content string) smtp.Facts {
	var facts smtp.Facts
	eightBit := func(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) >= 0 }
	header, _, _ := strings.Cut("\r\n"+content, "\r\n\r\n")
	facts.EightBit = eightBit(content)
	facts.EightBitBody = eightBit(("\r\n" + content)[len(header):])
	facts.HeaderUTF8 = eightBit(header) && utf8.ValidString(header)
	for line := range strings.SplitSeq(content, "\r\n") {
		facts.LongLine = facts.LongLine || len(line) > 998
	}
	return facts
}

// TestScanBoundaries moves what a scan looks for over the end of a chunk.
func TestScanBoundaries(t *testing.T) {
	const chunk = 32 << 10
	lines := strings.Repeat(strings.Repeat("x", 62)+"\r\n", chunk/64)
	x500 := strings.Repeat("x", 500)
	pieces := []string{
		"\r\n", "\r\n\r\n", "\xff", "\xc3\xbc", "\xf0\x9f\x93\xa7", "\xf0\x9f\x93", "\r\n\xff", "\r\n\r\n\xff", "\xff\r\n\r\n",
		"\r\n" + x500 + x500[:498] + "\r\n", "\r\n" + x500 + x500[:499] + "\r\n", // 998, 999 octets
	}
	for _, piece := range pieces {
		for before := chunk - len(piece) - 3; before <= chunk+3; before++ {
			start := lines[:before-150] + strings.Repeat("y", 150)
			if start[before-151] == '\r' {
				continue
			}
			for _, tail := range []string{"", "\r\n", "\r\nz\r\n\r\n\xff"} {
				content := start + piece + tail
				got, err := smtp.Scan(strings.NewReader(content))
				if want := scanReference(content); err != nil || got != want {
					t.Errorf("%.10q after %d octets, then %q: got %+v, %v, want %+v", piece, before, tail, got, err, want)
				}
			}
		}
	}
	for _, n := range []int{497, 498, 499} {
		content := lines[:chunk-len(x500)-2] + "\r\n" + x500 + strings.Repeat("x", n) // without end
		got, err := smtp.Scan(strings.NewReader(content))
		if want := n == 499; err != nil || got.LongLine != want {
			t.Errorf("500 and %d octets: got %+v, %v, want a long line: %t", n, got, err, want)
		}
	}
}

func TestScanRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		content := randomContent(random, 1<<uint(random.IntN(18)))
		if random.IntN(2) == 0 {
			content = bytes.ReplaceAll(content, []byte{0xff}, []byte("y"))
		}
		got, err := smtp.Scan(bytes.NewReader(content))
		if want := scanReference(string(content)); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestScanAllocs(t *testing.T) {
	content := strings.NewReader("a\r\n")
	if got := testing.AllocsPerRun(100, func() { smtp.Scan(content) }); got > 3 {
		t.Errorf("got %v allocations, want at most 3", got)
	}
}

var textTests = []struct{ name, in, want string }{
	{"empty", "", ""},
	{"LF", "a\nb\n", "a\r\nb\r\n"},
	{"CRLF", "a\r\nb\r\n", "a\r\nb\r\n"},
	{"mixed", "a\r\nb\nc\r\n", "a\r\nb\r\nc\r\n"},
	{"no end", "a\nb", "a\r\nb\r\n"},
	{"no end after CRLF", "a\r\nb", "a\r\nb\r\n"},
	{"one octet", "a", "a\r\n"},
	{"empty lines", "\n\n\r\n\n", "\r\n\r\n\r\n\r\n"},
	{"bare CR", "a\rb\n", "a\rb\r\n"},
	{"CR last", "a\r", "a\r\r\n"},
	{"CR CRLF", "a\r\r\n", "a\r\r\n"},
	{"LF CR", "a\n\rb\n", "a\r\n\rb\r\n"},
	{"NUL", "\x00", "\x00\r\n"},
	{"dots", ".\n..\n", ".\r\n..\r\n"},
}

func TestText(t *testing.T) {
	type named string
	type octets []byte
	for _, tt := range textTests {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range []smtp.Content{
				smtp.Text(tt.in), smtp.Text([]byte(tt.in)), smtp.Text(named(tt.in)), smtp.Text(octets(tt.in)),
			} {
				got, err := io.ReadAll(smtp.NewReader(c))
				if err != nil || string(got) != tt.want || c.Size() != int64(len(got)) {
					t.Errorf("%T: got %q, %v, want %q", c, got, err, tt.want)
				}
			}
		})
	}
}

func TestTextNoCopy(t *testing.T) {
	type octets []byte
	b := octets(strings.Repeat("a line\r\n", 1000))
	content := smtp.Text(b)
	b[0] = 'b'
	var got [1]byte
	if content.ReadAt(got[:], 0); got[0] != 'b' {
		t.Errorf("got %q, want the octets themselves", got[0])
	}
	type named string
	s := named(b)
	if n := testing.AllocsPerRun(10, func() { smtp.Text(s) }); n > 1 {
		t.Errorf("got %v allocations, want 1, for the reader", n)
	}
}

func TestCRLFReader(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range textTests {
		t.Run(tt.name, func(t *testing.T) {
			if at := badText(tt.in); at >= 0 {
				for i := range len(tt.in) + 1 {
					two := io.MultiReader(strings.NewReader(tt.in[:i]), strings.NewReader(tt.in[i:]))
					_, err := io.ReadAll(smtp.CRLFReader(two))
					reply, ok := errors.AsType[*smtp.Reply](err)
					if want := fmt.Sprintf("at offset %d", at); !ok || reply.Code != 554 || !strings.Contains(reply.Text+":", want+":") {
						t.Errorf("split at %d: got %v, want 554 with %q", i, err, want)
					}
				}
				return
			}
			for i := range len(tt.in) + 1 {
				two := io.MultiReader(strings.NewReader(tt.in[:i]), strings.NewReader(tt.in[i:]))
				if err := iotest.TestReader(smtp.CRLFReader(two), []byte(tt.want)); err != nil {
					t.Errorf("split at %d: %v", i, err)
				}
			}
			r := smtp.CRLFReader(iotest.DataErrReader(strings.NewReader(tt.in)))
			got, err := io.ReadAll(iotest.OneByteReader(r))
			if err != nil || string(got) != tt.want {
				t.Errorf("octet by octet: got %q, %v, want %q", got, err, tt.want)
			}
			r = smtp.CRLFReader(io.MultiReader(strings.NewReader(tt.in), iotest.ErrReader(broken)))
			got, err = io.ReadAll(r)
			if err != broken || !strings.HasPrefix(tt.want, string(got)) {
				t.Errorf("broken: got %q, %v, want a part of %q, %v", got, err, tt.want, broken)
			}
		})
	}
}

// badText gives the offset of the first CR without LF or NUL, -1 if there is none.
func badText(s string) int {
	return strings.IndexAny(strings.ReplaceAll(s, "\r\n", "__"), "\r\x00")
}

func FuzzText(f *testing.F) {
	for _, tt := range textTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, _ := io.ReadAll(smtp.NewReader(smtp.Text(in)))
		streamed, err := io.ReadAll(smtp.CRLFReader(iotest.HalfReader(strings.NewReader(in))))
		if bad := badText(in) >= 0; bad != (err != nil) || !bad && !bytes.Equal(got, streamed) {
			t.Errorf("Text gave %q, CRLFReader %q, %v", got, streamed, err)
		}
		want := strings.ReplaceAll(strings.ReplaceAll(in, "\r\n", "\n"), "\n", "\r\n")
		if in != "" && !strings.HasSuffix(in, "\n") {
			want += "\r\n"
		}
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add("A: b\r\n\r\nc\r\n")
	f.Add("\r\n\xff")
	f.Add("a\rb")
	f.Add(strings.Repeat("x", 999))
	f.Fuzz(func(t *testing.T, content string) {
		got, err := smtp.Scan(strings.NewReader(content))
		if bad := strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n\x00"); bad != (err != nil) {
			t.Errorf("got %v, want an error: %t", err, bad)
		}
		if want := scanReference(content); err == nil && got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	for _, bb := range []struct{ name, line string }{
		{"64", strings.Repeat("x", 62) + "\r\n"},
		{"8 bit", strings.Repeat("\xff", 62) + "\r\n"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			content := strings.NewReader("\r\n" + strings.Repeat(bb.line, 1<<20/len(bb.line)))
			b.SetBytes(content.Size())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := smtp.Scan(content); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkText(b *testing.B) {
	for _, bb := range []struct{ name, line string }{
		{"LF", strings.Repeat("x", 63) + "\n"},
		{"CRLF", strings.Repeat("x", 62) + "\r\n"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := strings.Repeat(bb.line, 1<<20/64)
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				smtp.Text(s)
			}
		})
	}
}

// TestCheckedReader has every read size meet what Scan refuses, and what it doesn't.
func TestCheckedReader(t *testing.T) {
	for _, content := range []string{"", "a\r\n", "\r\n\r\n", "ab\r\ncd", "a\n", "\n", "a\rb", "a\r", "\r\r\n", "a\x00b\r\n", "a\r\n\nb", "a\r\n\r"} {
		_, want := smtp.Scan(strings.NewReader(content))
		for size := 1; size <= len(content)+1; size++ {
			r := smtp.CheckedReader(strings.NewReader(content))
			var got []byte
			var err error
			for err == nil {
				var n int
				p := make([]byte, size)
				n, err = r.Read(p)
				got = append(got, p[:n]...)
			}
			if want == nil && (err != io.EOF || string(got) != content) {
				t.Errorf("%q by %d: got %q, %v", content, size, got, err)
			}
			if want != nil && (err.Error() != want.Error() || !strings.HasPrefix(content, string(got))) {
				t.Errorf("%q by %d: got %q, %v, want %v", content, size, got, err, want)
			}
		}
	}
}
