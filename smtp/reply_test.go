package smtp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/smtp"
)

func TestReplyAppendTo(t *testing.T) {
	tests := []struct {
		name  string
		reply smtp.Reply
		want  string
	}{
		{"plain", smtp.Reply{Code: 250, Text: "OK"}, "250 OK\r\n"},
		{"enhanced", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Text: "no such user"}, "550 5.1.1 no such user\r\n"},
		{"lines", smtp.Reply{Code: 250, Text: "mx.example\nSIZE 1000\nHELP"}, "250-mx.example\r\n250-SIZE 1000\r\n250 HELP\r\n"},
		{"lines enhanced", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Text: "a\nb"}, "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
		{"no text", smtp.Reply{Code: 354}, "354 \r\n"},
		{"no text enhanced", smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}}, "250 2.0.0\r\n"},
		{"empty line within", smtp.Reply{Code: 250, Text: "a\n\nb"}, "250-a\r\n250-\r\n250 b\r\n"},
		{"line end last", smtp.Reply{Code: 250, Text: "a\n"}, "250-a\r\n250 \r\n"},
		{"CRLF", smtp.Reply{Code: 250, Text: "a\r\nb"}, "250-a\r\n250 b\r\n"},
		{"controls", smtp.Reply{Code: 250, Text: "a\rb\x00c\td\x7fe\x1b"}, "250 a?b?c?d?e?\r\n"},
		{"not ASCII", smtp.Reply{Code: 250, Text: "ü\xff\u0085\u560d\u560a."}, "250 ?????.\r\n"},
		{"512 octets", smtp.Reply{Code: 250, Text: strings.Repeat("x", 506)}, "250 " + strings.Repeat("x", 506) + "\r\n"},
		{"over 512 octets", smtp.Reply{Code: 250, Text: strings.Repeat("x", 507) + "\nb"}, "250-" + strings.Repeat("x", 506) + "\r\n250 b\r\n"},
		{"over 512 octets enhanced", smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: strings.Repeat("x", 1000)}, "250 2.0.0 " + strings.Repeat("x", 500) + "\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.reply.AppendTo([]byte("before "))); got != "before "+tt.want {
				t.Errorf("got %q, want %q", got, "before "+tt.want)
			}
		})
	}
}

func TestReadReply(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want smtp.Reply
	}{
		{"plain", "250 OK\r\n", smtp.Reply{Code: 250, Text: "OK"}},
		{"no text", "250\r\n", smtp.Reply{Code: 250}},
		{"space only", "250 \r\n", smtp.Reply{Code: 250}},
		{"RFC 5321 section 4.2.1", "250-First line\r\n250-Second line\r\n250-234 Text beginning with numbers\r\n250 The last line\r\n", smtp.Reply{Code: 250, Text: "First line\nSecond line\n234 Text beginning with numbers\nThe last line"}},
		{"last line code only", "250-a\r\n250\r\n", smtp.Reply{Code: 250, Text: "a\n"}},
		{"enhanced", "550 5.1.1 no such user\r\n", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Text: "no such user"}},
		{"enhanced only", "250 2.1.5\r\n", smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 1, 5}}},
		{"enhanced of three digits", "450 4.100.200 x\r\n", smtp.Reply{Code: 450, Enhanced: smtp.EnhancedCode{4, 100, 200}, Text: "x"}},
		{"enhanced on each line", "550-5.7.1 a\r\n550 5.7.1 b\r\n", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Text: "a\nb"}},
		{"enhanced on the last line", "550-a\r\n550 5.7.1 b\r\n", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Text: "a\nb"}},
		{"enhanced that differ", "550-5.7.1 a\r\n550 5.1.1 b\r\n", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Text: "a\n5.1.1 b"}},
		{"class of another code", "550 4.1.1 x\r\n", smtp.Reply{Code: 550, Text: "4.1.1 x"}},
		{"not quite enhanced", "220 2.0 ready\r\n", smtp.Reply{Code: 220, Text: "2.0 ready"}},
		{"an address", "250 2.0.0.1 x\r\n", smtp.Reply{Code: 250, Text: "2.0.0.1 x"}},
		{"too many digits", "250 2.0.1000 x\r\n", smtp.Reply{Code: 250, Text: "2.0.1000 x"}},
		{"354", "354 go on\r\n", smtp.Reply{Code: 354, Text: "go on"}},
		{"controls", "250 a\tb\x00\x1b[1m\x7f\r\n", smtp.Reply{Code: 250, Text: "a\tb??[1m?"}},
		{"UTF-8", "250 dürst\r\n", smtp.Reply{Code: 250, Text: "dürst"}},
		{"not UTF-8", "250 d\xfcrst\xc3\r\n", smtp.Reply{Code: 250, Text: "d?rst?"}},
		{"C1 control", "250 a\u0085b\r\n", smtp.Reply{Code: 250, Text: "a??b"}},
		{"long line", "250 " + strings.Repeat("x", 4090) + "\r\n", smtp.Reply{Code: 250, Text: strings.Repeat("x", 4090)}},
		{"tab", "250\tOK\r\n", smtp.Reply{Code: 250, Text: "OK"}},
		{"codes that RFC 5321 doesn't have", "299-a\r\n299 b\r\n", smtp.Reply{Code: 299, Text: "a\nb"}},
		{"empty line before it", "\r\n250 OK\r\n", smtp.Reply{Code: 250, Text: "OK"}},
		{"text before it", "Welcome!\r\n250 OK\r\n", smtp.Reply{Code: 250, Text: "OK"}},
		{"empty line inside it", "250-a\r\n\r\n250 b\r\n", smtp.Reply{Code: 250, Text: "a\nb"}},
		{"blanks inside it", "250-a\r\n \t\r\n250 b\r\n", smtp.Reply{Code: 250, Text: "a\nb"}},
		{"text inside it", "250-a\r\nSTARTTLS\r\n250 b\r\n", smtp.Reply{Code: 250, Text: "a\nb"}},
		{"two digits inside it", "250-a\r\n25\r\n250 b\r\n", smtp.Reply{Code: 250, Text: "a\nb"}},
		{"four digits inside it", "250-a\r\n2500 b\r\n250 c\r\n", smtp.Reply{Code: 250, Text: "a\nc"}},
		{"a space before the code", " 550 a\r\n250 b\r\n", smtp.Reply{Code: 250, Text: "b"}},
		{"16 empty lines", strings.Repeat("\r\n", 8) + "250-a\r\n" + strings.Repeat("\r\n", 8) + "250 b\r\n", smtp.Reply{Code: 250, Text: "a\nb"}},
		{"codes differ", "250-a\r\n550 b\r\n", smtp.Reply{Code: 550, Text: "a\nb"}},
		{"codes differ in a class", "250-a\r\n251 b\r\n", smtp.Reply{Code: 251, Text: "a\nb"}},
		{"codes differ, worse and worse", "220-a\r\n450-4.7.1 b\r\n554 5.7.1 c\r\n", smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 7, 1}, Text: "a\nb\nc"}},
		{"codes differ, enhanced of the first", "554-5.7.1 a\r\n421 b\r\n", smtp.Reply{Code: 421, Text: "a\nb"}},
		{"codes differ, enhanced of one class", "550-5.1.1 a\r\n554 b\r\n", smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 1, 1}, Text: "a\nb"}},
		{"CR CR LF", "250 a\r\r\n", smtp.Reply{Code: 250, Text: "a"}},
		{"CR CR LF, code only", "250\r\r\n", smtp.Reply{Code: 250}},
		{"CR CR LF on each line", "550-5.1.1 a\r\r\n550 5.1.1 b\r\r\r\n", smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Text: "a\nb"}},
		{"CR CR LF on the first line", "550-a\r\r\n550 b\r\n", smtp.Reply{Code: 550, Text: "a\nb"}},
		{"CR CR LF without a code", "\r\r\nhello\r\r\n250 a\r\n", smtp.Reply{Code: 250, Text: "a"}},
		{"128 lines", strings.Repeat("250-\r\n", 127) + "250 \r\n", smtp.Reply{Code: 250, Text: strings.Repeat("\n", 127)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{16, 100, 4096, 8192} {
				r := bufio.NewReaderSize(iotest.HalfReader(strings.NewReader(tt.in+"next")), size)
				got, err := smtp.ReadReply(r)
				if err != nil {
					t.Fatalf("buffer of %d: %v", size, err)
				}
				if *got != tt.want {
					t.Errorf("buffer of %d: got %+v, want %+v", size, *got, tt.want)
				}
				if rest, _ := io.ReadAll(r); string(rest) != "next" {
					t.Errorf("buffer of %d: got %q after it", size, rest)
				}
			}
		})
	}
}

// TestReadReplyBounds: the error names the bound that the reply is over, and no other one.
func TestReadReplyBounds(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"129 lines", strings.Repeat("250-\r\n", 128) + "250 \r\n", "smtp: reply over 128 lines"},
		{"64 KiB", strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 17), "smtp: reply over 65536 octets"},
		{"17 empty lines", strings.Repeat("\r\n", 17) + "250 OK\r\n", "smtp: reply with over 16 lines without a code"},
	} {
		_, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(tt.in)))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestReadReplyErrors(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		in   string
		want error // if nil, any but io.EOF
	}{
		{"nothing", "", broken},
		{"cut", "25", broken},
		{"cut before LF", "250 OK\r", broken},
		{"cut between lines", "250-OK\r\n", broken},
		{"empty line", "\r\n", broken},
		{"empty line, and cut", "\r\n25", broken},
		{"17 empty lines", strings.Repeat("\r\n", 17) + "250 OK\r\n", nil},
		{"17 empty lines inside", "250-a\r\n" + strings.Repeat("\r\n", 17) + "250 OK\r\n", nil},
		{"17 empty lines, before and inside", strings.Repeat("\r\n", 9) + "250-a\r\n" + strings.Repeat("\r\n", 8) + "250 OK\r\n", nil},
		{"NUL without a code", "o\x00k\r\n250 OK\r\n", nil},
		{"ESC without a code", "\x1b[1m\r\n250 OK\r\n", nil},
		{"DEL without a code", "\x7f\r\n250 OK\r\n", nil},
		{"bare LF without a code", "\n250 OK\r\n", nil},
		{"bare CR without a code", "a\rb\r\n250 OK\r\n", nil},
		{"over 4096 octets without a code", strings.Repeat("x", 4095) + "\r\n250 OK\r\n", nil},
		{"code 199", "199 x\r\n", nil},
		{"code 600", "600 x\r\n", nil},
		{"code 000", "000 x\r\n", nil},
		{"no space", "250OK\r\n", nil},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n", nil},
		{"SSH", "SSH-2.0-OpenSSH_9.9\r\n", nil},
		{"POP3", "+OK hi\r\n", nil},
		{"IMAP", "* OK hi\r\n", nil},
		{"good after bad", "550-a\r\n250 b\r\n", nil},
		{"good after bad, and bad", "421-a\r\n354-b\r\n550 c\r\n", nil},
		{"a code without a class inside", "250-a\r\n150 b\r\n", nil},
		{"continued by text", "250-a\r\nb\r\n", broken},
		{"bare LF", "250 OK\n", nil},
		{"bare LF within", "250-a\n250 b\r\n", nil},
		{"bare CR", "250 a\rb\r\n", nil},
		{"CR CR before more text", "250 a\r\rb\r\n", nil},
		{"CR CR LF, over 4096 octets", "250 " + strings.Repeat("x", 4090) + "\r\r\n", nil},
		{"bare LF after CR CR LF", "250-a\r\r\n250 b\n", nil},
		{"long line", "250 " + strings.Repeat("x", 4091) + "\r\n", nil},
		{"line without end", strings.Repeat("x", 1<<20), nil},
		{"129 lines", strings.Repeat("250-\r\n", 128) + "250 \r\n", nil},
		{"over 64 KiB", strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 17) + "250 \r\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{16, 4096, 8192} {
				for _, end := range []error{broken, io.EOF} {
					in := io.MultiReader(strings.NewReader(tt.in), iotest.ErrReader(end))
					reply, err := smtp.ReadReply(bufio.NewReaderSize(in, size))
					if reply != nil || err == nil || len(err.Error()) > 400 {
						t.Fatalf("buffer of %d: got %+v, %v", size, reply, err)
					}
					want := tt.want
					if want != nil && end == io.EOF {
						want = io.ErrUnexpectedEOF
						if strings.Trim(tt.in, "\r\n") == "" {
							want = io.EOF
						}
					}
					if want == nil && (errors.Is(err, end) || errors.Is(err, io.ErrUnexpectedEOF)) || want != nil && err != want {
						t.Errorf("buffer of %d: got %v, want %v", size, err, want)
					}
				}
			}
		})
	}
}

// endless is a line without end, of which no more may be read than its bound.
type endless struct {
	t    *testing.T
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left -= len(p); e.left < 0 {
		e.t.Fatal("read beyond the bound")
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestReadReplyEndless(t *testing.T) {
	for _, size := range []int{16, 4096} {
		r := bufio.NewReaderSize(&endless{t, 16 << 10}, size)
		if _, err := smtp.ReadReply(r); err == nil {
			t.Error("got no error")
		}
	}
}

func TestReplyKind(t *testing.T) {
	tests := []struct {
		code                           int
		positive, temporary, permanent bool
	}{
		{220, true, false, false}, {250, true, false, false}, {354, true, false, false},
		{421, false, true, false}, {450, false, true, false},
		{550, false, false, true}, {599, false, false, true},
		{0, false, true, false}, {199, false, true, false}, {600, false, true, false},
	}
	for _, tt := range tests {
		r := smtp.Reply{Code: tt.code}
		if r.Positive() != tt.positive || r.Temporary() != tt.temporary || r.Permanent() != tt.permanent {
			t.Errorf("%d: got %t, %t, %t", tt.code, r.Positive(), r.Temporary(), r.Permanent())
		}
	}
}

func TestReplyError(t *testing.T) {
	r := smtp.NewReply(550, "5.1.1", "no\nsuch user")
	if got, want := r.Error(), "550 5.1.1 no such user"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (smtp.NewReply(421, "", "")).Error(), "421"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (smtp.EnhancedCode{}).String(); got != "" {
		t.Errorf("got %q, want none", got)
	}
	wrapped := fmt.Errorf("mx.example.net: %w", r)
	if got, ok := errors.AsType[*smtp.Reply](wrapped); !ok || got != r {
		t.Errorf("got %v, %t, want %v", got, ok, r)
	}
}

// FuzzReadReply holds that a reply that is read is bounded and clean, and is read as the same from its own
// wire form. Its code is that of its last line. It is read as the same with lines without a code before and inside it.
func FuzzReadReply(f *testing.F) {
	f.Add("250 OK\r\n", uint8(0))
	f.Add("550-5.7.1 a\r\n550-5.1.1 b\r\n550 5.7.1\r\n", uint8(3))
	f.Add("250-a\r\n250\r\n", uint8(100))
	f.Add("354 \x1b\xff\u0085\r\n", uint8(255))
	f.Add("\r\n250-a\r\n\r\nb\r\n2500 c\r\n250\td\r\n", uint8(7))
	f.Add("220-4.7.1 a\r\n421-4.7.1 b\r\n521 5.7.1 c\r\n", uint8(9))
	f.Add("554-no\r\n220 hi\r\n", uint8(1))
	f.Add("550-a\r\r\n\r\r\n550 b\r\r\r\n", uint8(0))
	f.Fuzz(func(t *testing.T, in string, buffer uint8) {
		src := strings.NewReader(in)
		r := bufio.NewReaderSize(src, 16+int(buffer))
		reply, irregular, err := smtp.ReadReplyUnless(r, func(int) bool { return false })
		if err != nil {
			if reply != nil {
				t.Errorf("got %+v with %v", reply, err)
			}
			return
		}
		if reply.Code < 200 || reply.Code > 599 || len(reply.Text) > 64<<10 || strings.ContainsAny(reply.Text, "\r\x00\x1b") {
			t.Errorf("got %+v", reply)
		}
		if e := reply.Enhanced; e != (smtp.EnhancedCode{}) && e[0] != reply.Code/100 {
			t.Errorf("got %v for code %d", e, reply.Code)
		}
		read := in[:len(in)-src.Len()-r.Buffered()]
		lines := strings.SplitAfter(strings.TrimSuffix(read, "\r\n"), "\r\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, strconv.Itoa(reply.Code)) || strings.HasPrefix(last[3:], "-") {
			t.Errorf("got code %d of %q", reply.Code, read)
		}
		if !irregular {
			for _, line := range lines {
				if !strings.HasPrefix(line, strconv.Itoa(reply.Code)) {
					t.Errorf("got a regular reply with %q", line)
				}
			}
		}
		if len(lines) <= 8 && len(read) < 8<<10 { // else there may be too many lines then
			skipped := "x\r\n" + strings.Join(lines, "\r\n") + "\r\n"
			again, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(skipped)))
			if err != nil || *again != *reply {
				t.Errorf("%q: got %+v, %v, want %+v", skipped, again, err, reply)
			}
		}
		wire := string(reply.AppendTo(nil))
		for line := range strings.SplitAfterSeq(wire, "\r\n") {
			if strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n") || len(line) > 512 {
				t.Errorf("got the line %q", line)
			}
		}
		again, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(wire)))
		if err != nil || again.Code != reply.Code {
			t.Errorf("%q: got %+v, %v, want %+v", wire, again, err, reply)
		}
	})
}

func BenchmarkReadReply(b *testing.B) {
	for _, bb := range []struct{ name, in string }{
		{"RCPT", "250 2.1.5 <ann@example.net>... Recipient ok\r\n"},
		{"EHLO", "250-mx.example.net at your service\r\n250-SIZE 157286400\r\n250-8BITMIME\r\n250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SMTPUTF8\r\n"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			src := strings.NewReader(bb.in)
			r := bufio.NewReader(src)
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(bb.in)
				r.Reset(src)
				if _, err := smtp.ReadReply(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReplyAppendTo(b *testing.B) {
	r := smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 1, 5}, Text: "recipient ok"}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendTo(buf[:0])
	}
}

func TestNewReply(t *testing.T) {
	tests := []struct {
		name     string
		code     int
		enhanced string
		want     smtp.EnhancedCode
	}{
		{"refused", 550, "5.7.1", smtp.EnhancedCode{5, 7, 1}},
		{"deferred", 451, "4.4.3", smtp.EnhancedCode{4, 4, 3}},
		{"ok", 250, "2.0.0", smtp.EnhancedCode{2, 0, 0}},
		{"three digits", 550, "5.7.508", smtp.EnhancedCode{5, 7, 508}},
		{"none", 550, "", smtp.EnhancedCode{}},
		{"another class", 550, "4.7.1", smtp.EnhancedCode{}},
		{"no such class", 354, "3.0.0", smtp.EnhancedCode{}},
		{"two parts", 550, "5.7", smtp.EnhancedCode{}},
		{"four parts", 550, "5.7.1.1", smtp.EnhancedCode{}},
		{"four digits", 550, "5.7.1000", smtp.EnhancedCode{}},
		{"a space after it", 550, "5.7.1 ", smtp.EnhancedCode{}},
		{"a text after it", 550, "5.7.1 no", smtp.EnhancedCode{}},
		{"letters", 550, "5.x.1", smtp.EnhancedCode{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := smtp.Reply{Code: tt.code, Enhanced: tt.want, Text: "a text"}
			if got := smtp.NewReply(tt.code, tt.enhanced, "a text"); *got != want {
				t.Errorf("got %+v, want %+v", *got, want)
			}
		})
	}
}
