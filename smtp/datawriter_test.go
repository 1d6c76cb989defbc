package smtp_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// writes keeps each Write.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// brokenContent fails, or ends, after its text though its size is greater.
type brokenContent struct {
	*strings.Reader
	size int64
	err  error
}

func (c brokenContent) Size() int64 { return c.size }

func (c brokenContent) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	if err == io.EOF {
		err = c.err
	}
	return n, err
}

// lastWithEOF says io.EOF with the last octets, as an io.ReaderAt may.
type lastWithEOF struct {
	*strings.Reader
}

func (c lastWithEOF) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	if off+int64(n) == c.Size() {
		err = io.EOF
	}
	return n, err
}

func TestWriteData(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"empty", "", ".\r\n"},
		{"one line", "a\r\n", "a\r\n.\r\n"},
		{"empty line", "\r\n", "\r\n.\r\n"},
		{"line without end", "a", "a\r\n.\r\n"},
		{"dot without end", ".", "..\r\n.\r\n"},
		{"dots", ".\r\n..\r\n.a\r\na.\r\n", "..\r\n...\r\n..a\r\na.\r\n.\r\n"},
		{"an end within", "a\r\n.\r\nMAIL FROM:<>\r\n", "a\r\n..\r\nMAIL FROM:<>\r\n.\r\n"},
		{"8 bit", "\xff.\r\n", "\xff.\r\n.\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.NewReader(tt.content)
			for _, c := range []smtp.Content{text, lastWithEOF{text}} {
				var w writes
				if err := smtp.WriteData(&w, c); err != nil {
					t.Fatal(err)
				}
				if len(w) != 1 || w[0] != tt.want {
					t.Errorf("%T: got %q, want %q in one Write", c, w, tt.want)
				}
			}
		})
	}
}

// TestWriteDataBoundaries moves what stuffing and checking look for over the end of a chunk.
func TestWriteDataBoundaries(t *testing.T) {
	const chunk = 32 << 10
	for _, what := range []string{"\r\n", "\r\n.", "\r\n.\r\n", "\r\n\r\n", "\r\n..\r\n.\r\n"} {
		for before := chunk - 10; before <= chunk+2; before++ {
			content := strings.Repeat("x", before) + what
			want := strings.ReplaceAll(content, "\r\n.", "\r\n..")
			if !strings.HasSuffix(want, "\r\n") {
				want += "\r\n"
			}
			var got bytes.Buffer
			if err := smtp.WriteData(&got, strings.NewReader(content)); err != nil {
				t.Fatalf("%q after %d octets: %v", what, before, err)
			}
			if got.String() != want+".\r\n" {
				t.Errorf("%q after %d octets: got …%q, want …%q", what, before, tail(got.String()), tail(want+".\r\n"))
			}
		}
		for _, bare := range []string{"\r", "\n", "\x00", "\r\r\n", "\n\r"} {
			for before := chunk - 3; before <= chunk+1; before++ {
				content := strings.Repeat("x", before) + bare + "x"
				var got bytes.Buffer
				err := smtp.WriteData(&got, strings.NewReader(content))
				if _, ok := errors.AsType[*smtp.ContentError](err); !ok {
					t.Errorf("%q after %d octets: got %v, want a ContentError", bare, before, err)
				}
				if s := got.String(); strings.Trim(s, "x") != "" {
					t.Errorf("%q after %d octets: got …%q written", bare, before, tail(s))
				}
			}
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-20):] }

func TestWriteDataErrors(t *testing.T) {
	broken := errors.New("broken")
	long := strings.Repeat("0123456789abcdef", 4<<10)
	tests := []struct {
		name    string
		content smtp.Content
		want    string // the error
		is      error  // that it wraps
		reply   bool   // whether it wraps a *Reply
	}{
		{"bare CR", strings.NewReader("a\rb"), "554 5.6.0 bare CR at offset 1: lines end in CR LF", nil, true},
		{"bare CR last", strings.NewReader("ab\r"), "554 5.6.0 bare CR at offset 2: lines end in CR LF", nil, true},
		{"bare LF", strings.NewReader("ab\r\n\n"), "554 5.6.0 bare LF at offset 4: lines end in CR LF", nil, true},
		{"bare LF first", strings.NewReader("\n"), "554 5.6.0 bare LF at offset 0: lines end in CR LF", nil, true},
		{"CR CRLF", strings.NewReader("a\r\r\n"), "554 5.6.0 bare CR at offset 1: lines end in CR LF", nil, true},
		{"first of several", strings.NewReader("a\r\nb\rc\nd\x00"), "554 5.6.0 bare CR at offset 4: lines end in CR LF", nil, true},
		{"NUL", strings.NewReader(long + "\x00"), "554 5.6.0 NUL at offset 65536", nil, true},
		{"content broken", brokenContent{strings.NewReader(long), 1 << 17, broken}, "broken", broken, false},
		{"content short", brokenContent{strings.NewReader("a\r\n"), 4, io.EOF}, "unexpected EOF", io.ErrUnexpectedEOF, false},
		{"content short, no error", brokenContent{strings.NewReader("a\r\n"), 4, nil}, "unexpected EOF", io.ErrUnexpectedEOF, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w bytes.Buffer
			err := smtp.WriteData(&w, tt.content)
			contentErr, ok := errors.AsType[*smtp.ContentError](err)
			if !ok || contentErr.Err.Error() != tt.want {
				t.Errorf("got %v, want a ContentError of %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want it to be %v", err, tt.is)
			}
			if _, ok := errors.AsType[*smtp.Reply](err); ok != tt.reply {
				t.Errorf("got a Reply: %t, want %t", ok, tt.reply)
			}
			if strings.Contains("\r\n"+w.String(), "\r\n.\r\n") {
				t.Errorf("the end went out: %q", w.String())
			}
			if _, scanErr := smtp.Scan(tt.content); scanErr == nil || scanErr.Error() != err.Error() {
				t.Errorf("Scan: got %v, want %v", scanErr, err)
			}
		})
	}
	t.Run("writer broken", func(t *testing.T) {
		pr, pw := io.Pipe()
		pr.CloseWithError(broken)
		for _, content := range []string{"", "a\r\n", long} {
			if err := smtp.WriteData(pw, strings.NewReader(content)); err != broken {
				t.Errorf("got %v, want %v", err, broken)
			}
		}
	})
}

// TestDataRoundTrip holds that what the next host stores is octet for octet what was sent.
func TestDataRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		content := randomContent(random, 1<<uint(random.IntN(18)))
		roundTrip(t, content, 16+random.IntN(5000), 1+random.IntN(40000))
	}
}

func randomContent(random *rand.Rand, size int) []byte {
	words := []string{"\r\n", "\r\n", "\r\n.", "\r\n..", ".", "a", "\xff", "some words", strings.Repeat("long", 300), "\r\n.\r\n"}
	var b []byte
	for len(b) < size {
		b = append(b, words[random.IntN(len(words))]...)
	}
	return append(b, "\r\n"...)
}

func roundTrip(t *testing.T, content []byte, buffer, pSize int) {
	t.Helper()
	var wire bytes.Buffer
	if err := smtp.WriteData(&wire, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	wire.WriteString("QUIT")
	got, err := readAll(bufio.NewReaderSize(&wire, buffer), 0, 0, pSize)
	want := verdict{string(content), 0, true, "QUIT"}
	if err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func FuzzWriteData(f *testing.F) {
	f.Add([]byte("a\r\n.\r\n..\r\n"))
	f.Add([]byte("\n.\r\n"))
	f.Add([]byte("\r"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, content []byte) {
		if _, err := smtp.Scan(bytes.NewReader(content)); err != nil {
			var w bytes.Buffer
			writeErr := smtp.WriteData(&w, bytes.NewReader(content))
			if writeErr == nil || writeErr.Error() != err.Error() || w.Len() > 0 && len(content) <= 32<<10 {
				t.Errorf("got %v with %d octets written, want %v with none", writeErr, w.Len(), err)
			}
			return
		}
		if len(content) > 0 && !bytes.HasSuffix(content, []byte("\r\n")) {
			content = append(content, "\r\n"...)
		}
		roundTrip(t, content, 16, 7)
	})
}

func BenchmarkWriteData(b *testing.B) {
	line64 := strings.Repeat("x", 62) + "\r\n"
	for _, bb := range []struct{ name, line string }{{"64", line64}, {"dots", "." + line64}} {
		b.Run(bb.name, func(b *testing.B) {
			content := strings.NewReader(strings.Repeat(bb.line, 1<<20/len(bb.line)))
			b.SetBytes(content.Size())
			b.ReportAllocs()
			for b.Loop() {
				if err := smtp.WriteData(io.Discard, content); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
