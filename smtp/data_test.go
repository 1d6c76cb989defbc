package smtp_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/smtp"
)

// verdict is what came of a body: the content that was given out, the code of the reply that refused it, 0
// if it was good, and what stands after its end.
type verdict struct {
	content string
	code    int // of Read, or of Drain if that isn't the same
	ended   bool
	rest    string
}

func (v verdict) String() string {
	return fmt.Sprintf("{%.100q %d %v %q}", v.content, v.code, v.ended, v.rest)
}

// readAll reads a body with DataReader, and drains it.
func readAll(r *bufio.Reader, maxSize int64, maxLine, pSize int) (verdict, error) {
	var v verdict
	d := smtp.NewDataReader(r)
	d.MaxSize, d.MaxLine = maxSize, maxLine
	p := make([]byte, pSize)
	var content []byte
	var err error
	for err == nil {
		var n int
		n, err = d.Read(p)
		content = append(content, p[:n]...)
		if n > 0 && err != nil || n == 0 && err == nil {
			return v, fmt.Errorf("Read gave %d octets with %v", n, err)
		}
	}
	v.content = string(content)
	drained := d.Drain(0)
	if again := d.Drain(0); again != drained {
		return v, fmt.Errorf("Drain gave %v, then %v", drained, again)
	}
	if _, again := d.Read(p); again != err {
		return v, fmt.Errorf("Read gave %v, then %v", err, again)
	}
	reply, refused := errors.AsType[*smtp.Reply](err)
	switch {
	case err == io.EOF && drained == nil:
		v.ended = true
	case refused && (drained == err || drained == io.ErrUnexpectedEOF):
		v.code, v.ended = reply.Code, drained == err
	case refused && reply.Code != 521 && strings.HasPrefix(drained.Error(), "521 5.6.0 "):
		v.code, v.ended = 521, true
	case err == io.ErrUnexpectedEOF && drained == err:
	default:
		return v, fmt.Errorf("Read gave %v and Drain %v", err, drained)
	}
	if v.ended {
		rest, err := io.ReadAll(r)
		if err != nil {
			return v, err
		}
		v.rest = string(rest)
	}
	return v, nil
}

// reference does the same by the words of the RFC, one octet after the other.
func reference(in string, maxSize int64, maxLine int) verdict {
	var v verdict
	const end = "\r\n.\r\n"
	body := in
	if i := strings.Index("\r\n"+in, end); i >= 0 {
		body = in[:i]
		v.rest = in[i+len(end)-len("\r\n"):]
		v.ended = true
	}
	var content []byte
	for i, line := range strings.SplitAfter(body, "\r\n") {
		last := i == strings.Count(body, "\r\n")
		if last && !v.ended && (line == "." || line == ".\r") {
			break // perhaps the end
		}
		line = strings.TrimPrefix(line, ".")
		text := strings.TrimSuffix(line, "\r\n")
		for j := range len(line) {
			bad := j < len(text) && (line[j] == '\r' || line[j] == '\n' || line[j] == 0)
			if v.code != 0 {
				if bad && v.ended {
					v.code = 521
				}
				continue
			}
			switch {
			case maxSize > 0 && int64(len(content)) == maxSize:
				v.code = 552
			case maxLine > 0 && j == maxLine:
				v.code = 554
			case !v.ended && last && line[j] == '\r' && j == len(line)-1:
				v.content = string(content)
				return v // perhaps a CRLF
			case bad:
				v.code = 521
			}
			if v.code == 0 {
				content = append(content, line[j])
			} else if bad && v.ended {
				v.code = 521
			}
		}
	}
	v.content = string(content)
	return v
}

// splits gives readers of in by each way of cutting it into two reads, and octet by octet, over small and
// usual buffers.
func splits(in string) map[string]*bufio.Reader {
	readers := map[string]*bufio.Reader{
		"octets":    bufio.NewReader(iotest.OneByteReader(strings.NewReader(in))),
		"octets/16": bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(in)), 16),
		"data+err":  bufio.NewReaderSize(iotest.DataErrReader(strings.NewReader(in)), 32),
	}
	for i := range len(in) + 1 {
		for _, size := range []int{16, 17, 4096} {
			two := io.MultiReader(strings.NewReader(in[:i]), strings.NewReader(in[i:]))
			readers[fmt.Sprintf("%d/%d", i, size)] = bufio.NewReaderSize(two, size)
		}
	}
	return readers
}

func TestDataReader(t *testing.T) {
	long := strings.Repeat("x", 4093) + "\r\n"
	tests := []struct {
		name    string
		in      string
		maxSize int64
		maxLine int
		want    verdict
	}{
		{name: "empty", in: ".\r\nQUIT", want: verdict{"", 0, true, "QUIT"}},
		{name: "one line", in: "a\r\n.\r\nQUIT", want: verdict{"a\r\n", 0, true, "QUIT"}},
		{name: "empty line", in: "\r\n.\r\n", want: verdict{"\r\n", 0, true, ""}},
		{name: "stuffed", in: "..\r\n...\r\n..a\r\n.\r\n", want: verdict{".\r\n..\r\n.a\r\n", 0, true, ""}},
		{name: "dot not stuffed", in: ".a\r\n.\r\n", want: verdict{"a\r\n", 0, true, ""}},
		{name: "dot within", in: "a.\r\nb.c\r\n.\r\n", want: verdict{"a.\r\nb.c\r\n", 0, true, ""}},
		{name: "end twice", in: "a\r\n.\r\n.\r\n", want: verdict{"a\r\n", 0, true, ".\r\n"}},
		{name: "no end", in: "a\r\n", want: verdict{"a\r\n", 0, false, ""}},
		{name: "no end, CR", in: "a\r", want: verdict{"a", 0, false, ""}},
		{name: "no end, dot", in: "a\r\n.", want: verdict{"a\r\n", 0, false, ""}},
		{name: "no end, dot CR", in: "a\r\n.\r", want: verdict{"a\r\n", 0, false, ""}},
		{name: "nothing", in: "", want: verdict{"", 0, false, ""}},
		{name: "8 bit", in: "\xff\x80\r\n.\r\n", want: verdict{"\xff\x80\r\n", 0, true, ""}},
		{name: "bare LF", in: "a\nb\r\n.\r\nQ", want: verdict{"a", 521, true, "Q"}},
		{name: "bare LF, no end", in: "a\nb\r\n", want: verdict{"a", 521, false, ""}},
		{name: "bare CR", in: "a\rb\r\n.\r\nQ", want: verdict{"a", 521, true, "Q"}},
		{name: "CR CRLF", in: "a\r\r\n.\r\nQ", want: verdict{"a", 521, true, "Q"}},
		{name: "LF first", in: "\n.\r\n\r\n.\r\nQ", want: verdict{"", 521, true, "Q"}},
		{name: "NUL", in: "a\x00\r\n.\r\nQ", want: verdict{"a", 521, true, "Q"}},
		{name: "bare CR before NUL and CRLF", in: "a\rb\x00c\r\n.\r\nQ", want: verdict{"a", 521, true, "Q"}},
		{name: "stuffed after bad", in: "\x00\r\n..\r\n.\r\nQ", want: verdict{"", 521, true, "Q"}},
		{name: "size reached", in: "ab\r\n.\r\nQ", maxSize: 4, want: verdict{"ab\r\n", 0, true, "Q"}},
		{name: "size passed", in: "abc\r\n.\r\nQ", maxSize: 4, want: verdict{"abc\r", 552, true, "Q"}},
		{name: "size passed by stuffed dot", in: "ab\r\n..\r\n.\r\nQ", maxSize: 4, want: verdict{"ab\r\n", 552, true, "Q"}},
		{name: "size passed, then bare LF", in: "abcde\n.\r\n.\r\nQ", maxSize: 4, want: verdict{"abcd", 521, true, "Q"}},
		{name: "size passed at a bare LF", in: "abcd\n.\r\n.\r\nQ", maxSize: 4, want: verdict{"abcd", 521, true, "Q"}},
		{name: "size passed, no end", in: "abcde\n.\r\n", maxSize: 4, want: verdict{"abcd", 552, false, ""}},
		{name: "line reached", in: "abc\r\n..bc\r\n.\r\nQ", maxLine: 5, want: verdict{"abc\r\n.bc\r\n", 0, true, "Q"}},
		{name: "line passed", in: "abcd\r\n.\r\nQ", maxLine: 5, want: verdict{"abcd\r", 554, true, "Q"}},
		{name: "line passed, then NUL", in: "abcdef\x00\r\n.\r\nQ", maxLine: 5, want: verdict{"abcde", 521, true, "Q"}},
		// The second line and the next ones together are as long as the first: to look for a CRLF there isn't enough.
		{name: "the end within a line's length", in: "aaaaaa\r\nb\r\n.\r\nQ\r\n", want: verdict{"aaaaaa\r\nb\r\n", 0, true, "Q\r\n"}},
		{name: "a dot within a line's length", in: "aaaaaa\r\nb\r\n.cc\r\n.\r\n", want: verdict{"aaaaaa\r\nb\r\ncc\r\n", 0, true, ""}},
		{name: "a bare LF within a line's length", in: "aaaaaa\r\nbbb\ncc\r\n.\r\n", want: verdict{"aaaaaa\r\nbbb", 521, true, ""}},
		{name: "line of 4095 octets", in: long + ".\r\nQ", want: verdict{long, 0, true, "Q"}},
		{name: "line of 4096 octets", in: "y" + long + ".\r\nQ", want: verdict{"y" + long, 0, true, "Q"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := reference(tt.in, tt.maxSize, tt.maxLine); got != tt.want {
				t.Errorf("reference: got %v, want %v", got, tt.want)
			}
			readers := splits(tt.in)
			if len(tt.in) > 1000 {
				readers = map[string]*bufio.Reader{
					"whole":  bufio.NewReader(strings.NewReader(tt.in)),
					"16":     bufio.NewReaderSize(strings.NewReader(tt.in), 16),
					"octets": bufio.NewReader(iotest.OneByteReader(strings.NewReader(tt.in))),
				}
			}
			for name, r := range readers {
				pSize := 1 + len(name)*len(name)%23
				got, err := readAll(r, tt.maxSize, tt.maxLine, pSize)
				if err != nil || got != tt.want {
					t.Errorf("split %s: got %v, %v, want %v", name, got, err, tt.want)
				}
			}
		})
	}
}

// TestDataReaderEnd holds that nothing but CRLF.CRLF ends a message: a host that took one of these for the
// end would read a second message, with an envelope that no one checked, out of the first.
func TestDataReaderEnd(t *testing.T) {
	tests := []struct{ name, end string }{
		{"LF.LF", "\n.\n"},
		{"LF.CRLF", "\n.\r\n"},
		{"CRLF.LF", "\r\n.\n"},
		{"CR.CR", "\r.\r"},
		{"CR.LF", "\r.\n"},
		{"CR.CRLF", "\r.\r\n"},
		{"LF.CR", "\n.\r"},
		{"CRLF.CR", "\r\n.\r"},
		{"CRLF.CRCRLF", "\r\n.\r\r\n"},
		{"CRCRLF.CRLF, its CR", "\r\n.\r\r"},
		{"LFCR.CRLF", "\n\r.\r\n"},
		{"CRLF.LFCR", "\r\n.\n\r"},
		{"CRLF.LFCRLF", "\r\n.\n\r\n"},
		{"CRLF.NUL CRLF", "\r\n.\x00\r\n"},
		{"CRLF NUL.CRLF", "\r\n\x00.\r\n"},
		{"CRLF.CR NUL LF", "\r\n.\r\x00\n"},
		{"CR NUL LF.CRLF", "\r\x00\n.\r\n"},
		{"NUL.NUL", "\x00.\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := "DATA\r\na" + tt.end + "MAIL FROM:<>\r\nDATA\r\nb\r\n.\r\nQUIT\r\n"
			for name, r := range splits(in) {
				got := converse(r)
				if want := "DATA 521; QUIT"; got != want {
					t.Errorf("split %s: got %q, want %q", name, got, want)
				}
			}
		})
	}
	t.Run("CRLF.CRLF", func(t *testing.T) {
		in := "DATA\r\na\r\n.\r\nMAIL FROM:<>\r\nDATA\r\nb\r\n.\r\nQUIT\r\n"
		for name, r := range splits(in) {
			if got, want := converse(r), `DATA "a\r\n"; MAIL FROM:<>; DATA "b\r\n"; QUIT`; got != want {
				t.Errorf("split %s: got %q, want %q", name, got, want)
			}
		}
	})
}

// converse reads commands as a server does, and tells what it understood.
func converse(r *bufio.Reader) string {
	var heard []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return strings.Join(heard, "; ")
		}
		line = strings.TrimSuffix(line, "\r\n")
		if line == "DATA" {
			d := smtp.NewDataReader(r)
			content, err := io.ReadAll(d)
			if reply, ok := errors.AsType[*smtp.Reply](err); ok {
				line += fmt.Sprintf(" %d", reply.Code)
			} else {
				line += fmt.Sprintf(" %q", content)
			}
			d.Drain(0)
		}
		heard = append(heard, line)
	}
}

func TestDataReaderReplies(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want string
	}{
		{"bare CR", "ab\r\nc\rd\r\n.\r\n", "521 5.6.0 bare CR at offset 5: lines end in CR LF"},
		{"bare LF", "..\r\n\n\r\n.\r\n", "521 5.6.0 bare LF at offset 3: lines end in CR LF"},
		{"NUL", "a\x00\r\n.\r\n", "521 5.6.0 NUL at offset 1"},
		{"size", "123456789012345\r\n.\r\n", "552 5.3.4 message exceeds 16 octets"},
		{"line", "12345678901\r\n.\r\n", "554 5.6.0 line exceeds 12 octets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := smtp.NewDataReader(bufio.NewReader(strings.NewReader(tt.in)))
			d.MaxSize, d.MaxLine = 16, 12
			if tt.name == "size" {
				d.MaxLine = 0
			}
			if _, err := io.ReadAll(d); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// eager fails the test when it is read once its input is used up: that would wait for a client that has
// said all it will.
type eager struct {
	t  *testing.T
	in string
}

func (e *eager) Read(p []byte) (int, error) {
	if e.in == "" {
		e.t.Fatal("read without need")
	}
	n := copy(p, e.in)
	e.in = e.in[n:]
	return n, nil
}

func TestDataReaderNeverWaits(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want string
		end  bool
	}{
		{name: "end", in: "ab\r\n.\r\n", want: "ab\r\n", end: true},
		{name: "empty", in: ".\r\n", want: "", end: true},
		{name: "part of a line", in: "ab", want: "ab"},
		{name: "line", in: "ab\r\n", want: "ab\r\n"},
		{name: "CR", in: "ab\r", want: "ab"},
		{name: "dot", in: "ab\r\n.", want: "ab\r\n"},
		{name: "dot CR", in: "ab\r\n.\r", want: "ab\r\n"},
		{name: "stuffed", in: "..ab\r\n..", want: ".ab\r\n."},
	}
	for _, tt := range tests {
		for _, pSize := range []int{1, 100} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, pSize), func(t *testing.T) {
				d := smtp.NewDataReader(bufio.NewReader(&eager{t, tt.in}))
				got := ""
				for p := make([]byte, pSize); got != tt.want; {
					n, err := d.Read(p)
					if err != nil {
						t.Fatal(err)
					}
					got += string(p[:n])
				}
				if tt.end {
					if _, err := d.Read(make([]byte, pSize)); err != io.EOF {
						t.Errorf("got %v, want EOF", err)
					}
				}
			})
		}
	}
}

func TestDataReaderConnectionError(t *testing.T) {
	broken := errors.New("broken")
	for _, in := range []string{"a", "a\r", "a\r\n.", "a\nb", "a\nb\r\n.\r"} {
		t.Run(in, func(t *testing.T) {
			r := io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken))
			d := smtp.NewDataReader(bufio.NewReader(r))
			_, err := io.ReadAll(d)
			if _, refused := errors.AsType[*smtp.Reply](err); refused != strings.Contains(in, "a\n") {
				t.Errorf("Read: got %v", err)
			}
			for range 2 {
				if err := d.Drain(0); !errors.Is(err, broken) {
					t.Errorf("Drain: got %v, want %v", err, broken)
				}
			}
		})
	}
}

func TestDataReaderDrain(t *testing.T) {
	tests := []struct {
		name string
		in   string
		max  int64
		want string // the error, "" for none
	}{
		{"good", "abc\r\n.\r\n", 0, ""},
		{"good, negative bound", "abc\r\n.\r\n", -1, ""},
		{"good, at the bound", "abc\r\n.\r\n", 5, ""},
		{"good, over the bound", "abc\r\n.\r\n", 4, smtp.ErrDrain.Error()},
		{"bad", "a\nb\r\n.\r\n", 0, "521 5.6.0 bare LF at offset 1: lines end in CR LF"},
		{"bad, at the bound", "a\nb\r\n.\r\n", 5, "521 5.6.0 bare LF at offset 1: lines end in CR LF"},
		{"bad, over the bound", "a\nb\r\n.\r\n", 4, smtp.ErrDrain.Error()},
		{"empty", ".\r\n", 1, ""},
		{"no end", "abc", 0, io.ErrUnexpectedEOF.Error()},
		{"no end, over the bound", "abcd", 3, smtp.ErrDrain.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, r := range splits(tt.in) {
				got := ""
				if err := smtp.NewDataReader(r).Drain(tt.max); err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("split %s: got %q, want %q", name, got, tt.want)
				}
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		for _, tt := range []struct {
			in   string
			size int64
			line int
			max  int64
			want int // the code; 0: ErrDrain
		}{
			{in: "abcdef\r\n.\r\n", size: 4, want: 552},
			{in: "abcdef\r\n.\r\n", size: 4, max: 8, want: 552},
			{in: "abcdef\r\n.\r\n", size: 4, max: 7},
			{in: "abcdef\n.\n\r\n.\r\n", size: 4, want: 521},
			{in: "abcdef\r\n.\x00\r\n.\r\n", size: 4, want: 521},
			{in: "abcdef\r\n.\r\n", line: 4, want: 554},
			{in: "abcdef\r\nbcdefg\r\n\r.\r\r\n.\r\n", line: 4, want: 521},
			{in: "abcdef\n.\r\n.\r\n", size: 5, line: 4, want: 521},
		} {
			for name, r := range splits(tt.in) {
				d := smtp.NewDataReader(r)
				d.MaxSize, d.MaxLine = tt.size, tt.line
				err := d.Drain(tt.max)
				reply, _ := errors.AsType[*smtp.Reply](err)
				if tt.want == 0 && err != smtp.ErrDrain || tt.want != 0 && (reply == nil || reply.Code != tt.want) {
					t.Errorf("%q, split %s: got %v, want %d", tt.in, name, err, tt.want)
				}
				if again := d.Drain(0); tt.want != 0 && again != err {
					t.Errorf("%q, split %s: got %v, then %v", tt.in, name, err, again)
				}
			}
		}
	})
	t.Run("goes on", func(t *testing.T) {
		d := smtp.NewDataReader(bufio.NewReader(strings.NewReader("a\nbc\r\n.\r\n")))
		if err := d.Drain(3); err != smtp.ErrDrain {
			t.Errorf("got %v, want %v", err, smtp.ErrDrain)
		}
		if _, ok := errors.AsType[*smtp.Reply](d.Drain(3)); !ok {
			t.Error("the end was not found in the second part")
		}
	})
}

func TestDataReaderAllocs(t *testing.T) {
	in := bytes.Repeat([]byte("..a line\r\nand another\r\n"), 1000)
	src := bytes.NewReader(in)
	br := bufio.NewReader(src)
	p := make([]byte, 1000)
	d := smtp.NewDataReader(br)
	got := testing.AllocsPerRun(20, func() {
		if _, err := d.Read(p); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations a Read, want 0", got)
	}
}

func FuzzDataReader(f *testing.F) {
	for _, in := range []string{
		".\r\nQ", "a\r\n.\r\nQ", "..\r\n.a\r\n.\r\n", "a\n.\n", "\r\n.\r\r\n.\r\n", "\r\r\n.\r\n", ".\r", "\r\n.\r",
		"\x00\r\n.\r\n", "0123456789abcde\r\n.\r\n", "0123456789abcd\r\n.\r\n", "0123456789abc\r\n.\r\n",
		"aaaaaa\r\nb\r\n.\r\nQ\r\n",
	} {
		f.Add(in, uint8(16), uint8(3), uint8(5), uint8(0), uint8(0))
		f.Add(in, uint8(0), uint8(200), uint8(200), uint8(4), uint8(5))
	}
	f.Fuzz(func(t *testing.T, in string, buffer, split, pSize, maxSize, maxLine uint8) {
		cut := min(int(split), len(in))
		two := io.MultiReader(strings.NewReader(in[:cut]), strings.NewReader(in[cut:]))
		r := bufio.NewReaderSize(two, 16+int(buffer))
		got, err := readAll(r, int64(maxSize), int(maxLine), 1+int(pSize))
		want := reference(in, int64(maxSize), int(maxLine))
		if err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	})
}

// uneven returns n lines, of which only some are as long as the one before.
func uneven(n, step int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat("x", 40+i*step%35) + "\r\n")
	}
	return b.String()
}

func BenchmarkDataReader(b *testing.B) {
	line64 := strings.Repeat("x", 62) + "\r\n"
	for _, bb := range []struct{ name, line string }{
		{"64", line64},
		{"998", strings.Repeat("x", 998) + "\r\n"},
		{"text", uneven(64, 17)},
		{"dots", "." + line64},
	} {
		b.Run(bb.name, func(b *testing.B) {
			in := []byte(strings.Repeat(bb.line, 1<<20/len(bb.line)) + ".\r\n")
			src := bytes.NewReader(in)
			br := bufio.NewReaderSize(src, 4096)
			p := make([]byte, 32<<10)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(in)
				br.Reset(src)
				d := smtp.NewDataReader(br)
				var err error
				for err == nil {
					_, err = d.Read(p)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
