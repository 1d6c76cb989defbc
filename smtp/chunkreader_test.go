package smtp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/smtp"
)

func TestParseChunk(t *testing.T) {
	tests := []struct {
		args string
		want smtp.Chunk
		err  string
	}{
		{"86 LAST", smtp.Chunk{Size: 86, Last: true}, ""}, // RFC 3030 §4.1
		{"100000", smtp.Chunk{Size: 100000}, ""},          // RFC 3030 §4.2
		{"324", smtp.Chunk{Size: 324}, ""},
		{"0 LAST", smtp.Chunk{Last: true}, ""},
		{"10 last", smtp.Chunk{Size: 10, Last: true}, ""},
		{"010", smtp.Chunk{Size: 10}, ""},
		{"9223372036854775807", smtp.Chunk{Size: math.MaxInt64}, ""},
		{"9223372036854775808", smtp.Chunk{}, "the size is too large"},
		{"18446744073709551626", smtp.Chunk{}, "the size is too large"}, // 10 modulo 2^64
		{"", smtp.Chunk{}, "the size isn't a number"},
		{"LAST", smtp.Chunk{}, "the size isn't a number"},
		{"+5", smtp.Chunk{}, "the size isn't a number"},
		{"-1", smtp.Chunk{}, "the size isn't a number"},
		{"0x10", smtp.Chunk{}, "the size isn't a number"},
		{"1_0", smtp.Chunk{}, "the size isn't a number"},
		{"٣", smtp.Chunk{}, "the size isn't a number"},
		{" 10", smtp.Chunk{}, "the size isn't a number"},
		{"10\tLAST", smtp.Chunk{}, "the size isn't a number"},
		{"10 LASTX", smtp.Chunk{}, "only LAST may follow the size"},
		{"10 LA\u017fT", smtp.Chunk{}, "only LAST may follow the size"},
		{"10 LAST LAST", smtp.Chunk{}, "only LAST may follow the size"},
		{"10  LAST", smtp.Chunk{}, "only LAST may follow the size"},
		{"10 20", smtp.Chunk{}, "only LAST may follow the size"},
		{"10 ", smtp.Chunk{}, "only LAST may follow the size"},
	}
	for _, tt := range tests {
		got, err := smtp.ParseChunk(tt.args)
		reply, _ := errors.AsType[*smtp.Reply](err)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%q: got %v, %v, want %v", tt.args, got, err, tt.want)
		case tt.err != "" && (reply == nil || reply.Code != 501 || !strings.HasSuffix(reply.Text, tt.err)):
			t.Errorf("%q: got %v, %v, want 501 … %s", tt.args, got, err, tt.err)
		}
	}
}

// chunked returns a reader of content in chunks of these sizes, whose commands come with the content. The last size is
// that of the chunk with LAST.
func chunked(content string, sizes []int64, buffer int, wrap func(io.Reader) io.Reader) *smtp.ChunkReader {
	r := bufio.NewReaderSize(wrap(strings.NewReader(content)), buffer)
	next := func() (smtp.Chunk, error) {
		c := smtp.Chunk{Size: sizes[0], Last: len(sizes) == 1}
		sizes = sizes[1:]
		return c, nil
	}
	first, _ := next()
	return smtp.NewChunkReader(r, first, next)
}

// TestChunkReader reads each content cut into two chunks at every octet, with several buffers and sizes of a Read. Read
// and Drain find the same.
func TestChunkReader(t *testing.T) {
	tests := []struct {
		name    string
		content string
		maxSize int64
		maxLine int
		binary  bool
		want    string // the error
	}{
		{name: "empty"},
		{name: "lines", content: "a\r\nbc\r\n\r\n"},
		{name: "no CRLF at the end", content: "a\r\nbc"},
		{name: "dots", content: ".\r\n..\r\n\r\n.\r\nQUIT\r\n"},
		{name: "8 bit", content: "\xff\x80\r\n"},
		{name: "bare LF", content: "a\nb", want: "521 5.6.0 bare LF at offset 1: lines end in CR LF"},
		{name: "LF first", content: "\nb", want: "521 5.6.0 bare LF at offset 0: lines end in CR LF"},
		{name: "LF twice", content: "a\r\n\nb", want: "521 5.6.0 bare LF at offset 3: lines end in CR LF"},
		{name: "bare CR", content: "a\rb", want: "521 5.6.0 bare CR at offset 1: lines end in CR LF"},
		{name: "bare CR at the end", content: "ab\r", want: "521 5.6.0 bare CR at offset 2: lines end in CR LF"},
		{name: "CR CRLF", content: "a\r\r\n", want: "521 5.6.0 bare CR at offset 1: lines end in CR LF"},
		{name: "NUL", content: "ab\x00", want: "521 5.6.0 NUL at offset 2"},
		{name: "binary", content: "\x00a\nb\rc\r\r\n\n\xff\r", binary: true},
		{name: "size reached", content: "abcd\r\n", maxSize: 6},
		{name: "size passed", content: "abcd\r\n", maxSize: 5, want: "552 5.3.4 message exceeds 5 octets"},
		{name: "line reached", content: "abc\r\n\r\nabc\r\n", maxLine: 5},
		{name: "line passed", content: "abc\r\nabcd\r\n", maxLine: 5, want: "554 5.6.0 line exceeds 5 octets"},
		{name: "line without end", content: "abc\r\nabcdef", maxLine: 5, want: "554 5.6.0 line exceeds 5 octets"},
		{name: "binary lines", content: "abcdef\n", maxLine: 5, binary: true},
	}
	wraps := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "octets": iotest.OneByteReader, "data+err": iotest.DataErrReader,
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for at := range int64(len(tt.content)) + 1 {
				for how, wrap := range wraps {
					for size := 1; size < 20; size += 6 {
						name := fmt.Sprintf("at %d, %s, %d octets a Read", at, how, size)
						fresh := func() *smtp.ChunkReader {
							c := chunked(tt.content, []int64{at, 0, int64(len(tt.content)) - at}, 16, wrap)
							c.MaxSize, c.MaxLine, c.Binary = tt.maxSize, tt.maxLine, tt.binary
							return c
						}
						c := fresh()
						var got strings.Builder
						_, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{c}, make([]byte, size))
						if text := errText(err); text != tt.want {
							t.Errorf("%s: got error %q, want %q", name, text, tt.want)
						}
						if !strings.HasPrefix(tt.content, got.String()) || err == nil && got.String() != tt.content {
							t.Errorf("%s: got %q, want %q", name, got.String(), tt.content)
						}
						if _, again := c.Read(make([]byte, 1)); err != nil && again != err {
							t.Errorf("%s: got %v, then %v", name, err, again)
						}
						if text := errText(c.Drain(0)); text != tt.want {
							t.Errorf("%s: got error %q of Drain, want %q", name, text, tt.want)
						}
						if text := errText(fresh().Drain(0)); text != tt.want {
							t.Errorf("%s: got error %q of Drain alone, want %q", name, text, tt.want)
						}
					}
				}
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestChunkReaderEnds: what ends a body before its last chunk, and how much is read after that.
func TestChunkReaderEnds(t *testing.T) {
	same := func(r io.Reader) io.Reader { return r }
	broken := errors.New("broken")
	tests := []struct {
		name  string
		in    string
		sizes []int64
		wrap  func(io.Reader) io.Reader
		want  error
	}{
		{"within a chunk", "abc", []int64{2, 2}, same, io.ErrUnexpectedEOF},
		{"before a chunk", "ab", []int64{2, 2}, same, io.ErrUnexpectedEOF},
		{"the connection fails", "abc", []int64{4}, func(r io.Reader) io.Reader {
			return io.MultiReader(r, iotest.ErrReader(broken))
		}, broken},
		{"a huge size", "abc", []int64{math.MaxInt64}, same, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := chunked(tt.in, tt.sizes, 16, tt.wrap)
			if _, err := io.ReadAll(c); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err := chunked(tt.in, tt.sizes, 16, tt.wrap).Drain(0); !errors.Is(err, tt.want) {
				t.Errorf("got %v of Drain, want %v", err, tt.want)
			}
		})
	}
	t.Run("the next chunk fails", func(t *testing.T) {
		next := func() (smtp.Chunk, error) { return smtp.Chunk{}, broken }
		c := smtp.NewChunkReader(bufio.NewReader(strings.NewReader("ab")), smtp.Chunk{Size: 1}, next)
		if _, err := io.ReadAll(c); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		if err := c.DrainChunk(0); !errors.Is(err, broken) {
			t.Errorf("got %v of DrainChunk, want %v", err, broken)
		}
	})
	t.Run("zero value", func(t *testing.T) {
		if _, err := io.ReadAll(new(smtp.ChunkReader)); err == nil {
			t.Error("got no error, want one")
		}
	})
}

// TestChunkReaderDrain: a refused chunk is read to its end, and no further one.
func TestChunkReaderDrain(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("a\nb\r\nQUIT"))
	c := smtp.NewChunkReader(r, smtp.Chunk{Size: 5}, nil)
	if err := c.Drain(4); err != smtp.ErrDrain {
		t.Errorf("got %v for a chunk over the bound, want %v", err, smtp.ErrDrain)
	}
	want := "521 5.6.0 bare LF at offset 1: lines end in CR LF"
	if err := c.Drain(5); errText(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "QUIT" {
		t.Errorf("got the rest %q, want QUIT", rest)
	}
	r = bufio.NewReader(strings.NewReader("abcdeQUIT"))
	c = smtp.NewChunkReader(r, smtp.Chunk{Size: 5}, nil)
	if err := c.DrainChunk(4); err != smtp.ErrDrain {
		t.Errorf("got %v before a Read, want %v", err, smtp.ErrDrain)
	}
	c.Read(make([]byte, 2))
	if err := c.DrainChunk(2); err != smtp.ErrDrain {
		t.Errorf("got %v for 3 octets, want %v", err, smtp.ErrDrain)
	}
	if err := c.DrainChunk(3); err != nil {
		t.Errorf("got %v, want none", err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "QUIT" {
		t.Errorf("got the rest %q, want QUIT", rest)
	}
}

func TestChunkReaderAllocs(t *testing.T) {
	r := bufio.NewReader(strings.NewReader(strings.Repeat("a line\r\n", 10_000)))
	next := func() (smtp.Chunk, error) { return smtp.Chunk{Size: 100}, nil }
	c := smtp.NewChunkReader(r, smtp.Chunk{Size: 100}, next)
	p := make([]byte, 64)
	if got := testing.AllocsPerRun(100, func() { c.Read(p) }); got != 0 {
		t.Errorf("got %v allocations a Read, want 0", got)
	}
}
