package smtptest

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// chunked returns a host with CHUNKING, and a session before its first chunk.
func chunked(t *testing.T) (*Host, net.Conn) {
	t.Helper()
	h := NewNetwork(t).Host("mx.example.net")
	h.Chunking()
	c := dial(t, h)
	talk(t, c, ": 220", "EHLO a: 250", "MAIL FROM:<>: 250", "RCPT TO:<b@example.net>: 250")
	return h, c
}

// TestBadChunk: if the size isn't known, the octets that follow aren't read as commands.
func TestBadChunk(t *testing.T) {
	for _, args := range []string{"", " ", " -1", " +5", " 0x5", " 5_0", " ٥", " 5 LASTX", " 5 LAST ", " 5 LAST LAST", " 5  LAST", " 5 LA\u017fT",
		" 5 ", " LAST", "  5", " 5LAST", " 9223372036854775808", " 99999999999999999999999999 LAST", "5"} {
		t.Run(args, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, c := chunked(t)
				io.WriteString(c, "BDAT"+args+"\r\nNOOP\r\nNOOP\r\n")
				c.SetReadDeadline(time.Now().Add(time.Minute))
				got, err := io.ReadAll(c)
				if strings.HasPrefix(args, " ") || args == "" {
					if !strings.HasPrefix(string(got), "501 5.5.4 ") || strings.Count(string(got), "\r\n") != 1 || err != nil {
						t.Errorf("got %q and %v, want 501 and the end", got, err)
					}
				} else if !strings.HasPrefix(string(got), "500 5.5.1 ") { // "BDAT5" is another command
					t.Errorf("got %q, want 500", got)
				}
				if n := len(h.Messages()); n != 0 {
					t.Errorf("got %d messages, want none", n)
				}
			})
		})
	}
}

// TestChunkStages: the faults of StageBody and StageFinal apply to chunks, too. The client sends two chunks and ignores
// the replies.
func TestChunkStages(t *testing.T) {
	amiss := smtp.NewReply(451, "4.3.0", "")
	tests := []struct {
		name  string
		amiss func(*Host)
		want  string // codes
		err   error
		took  time.Duration
		mails int
	}{
		{"none", func(*Host) {}, "250 250 221", io.EOF, 0, 1},
		{"answer body", func(h *Host) { h.Answer(smtp.StageBody, amiss) }, "451 503 221", io.EOF, 0, 0},
		{"answer body well", func(h *Host) { h.Answer(smtp.StageBody, smtp.NewReply(251, "", "")) }, "251 250 221", io.EOF, 0, 1},
		{"answer final", func(h *Host) { h.Answer(smtp.StageFinal, amiss) }, "250 451 221", io.EOF, 0, 0},
		{"raw body", func(h *Host) { h.AnswerRaw(smtp.StageBody, "299 oh\r\n") }, "299 250 221", io.EOF, 0, 1},
		{"raw final", func(h *Host) { h.AnswerRaw(smtp.StageFinal, "299 oh\r\n") }, "250 299 221", io.EOF, 0, 1},
		{"421", func(h *Host) { h.Answer(smtp.StageBody, smtp.NewReply(421, "", "")) }, "421", io.EOF, 0, 0},
		{"early body", func(h *Host) { h.AnswerEarly(smtp.StageBody, amiss) }, "250 451 221", io.EOF, 0, 1},
		{"early final", func(h *Host) { h.AnswerEarly(smtp.StageFinal, amiss) }, "250 250 451", io.EOF, 0, 1},
		{"slow body", func(h *Host) { h.Slow(time.Minute, smtp.StageBody) }, "250 250 221", io.EOF, time.Minute, 1},
		{"slow final", func(h *Host) { h.Slow(time.Hour, smtp.StageFinal) }, "250 250 221", io.EOF, time.Hour, 1},
		{"slow", func(h *Host) { h.Slow(time.Minute) }, "250 250 221", io.EOF, 3 * time.Minute, 1},
		{"close body", func(h *Host) { h.CloseAt(smtp.StageBody) }, "", io.EOF, 0, 0},
		{"reset body", func(h *Host) { h.ResetAt(smtp.StageBody) }, "", syscall.ECONNRESET, 0, 0},
		{"close final", func(h *Host) { h.CloseAt(smtp.StageFinal) }, "250", io.EOF, 0, 1},
		{"reset final", func(h *Host) { h.ResetAt(smtp.StageFinal) }, "250", syscall.ECONNRESET, 0, 1},
		{"stall body", func(h *Host) { h.StallAt(smtp.StageBody); time.AfterFunc(time.Hour, h.Heal) }, "250 250 221", io.EOF, time.Hour, 1},
		{"stall final", func(h *Host) { h.StallAt(smtp.StageFinal); time.AfterFunc(time.Hour, h.Heal) }, "250 250 221", io.EOF, time.Hour, 1},
		{"stall data", func(h *Host) { h.StallAt(smtp.StageData) }, "250 250 221", io.EOF, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, c := chunked(t)
				test.amiss(h)
				start := time.Now()
				var codes []string
				var err error
				for _, turn := range []string{"BDAT 7\r\nfirst\r\n", "BDAT 6 LAST\r\nlast\r\n", "QUIT\r\n", ""} {
					if _, err = io.WriteString(c, turn); err != nil {
						break
					}
					var code string
					if code, err = readCode(c); err != nil {
						break
					}
					codes = append(codes, code)
				}
				if got := strings.Join(codes, " "); got != test.want || !errors.Is(err, test.err) || time.Since(start) != test.took {
					t.Errorf("got %q and %v after %v, want %q and %v after %v", got, err, time.Since(start), test.want, test.err, test.took)
				}
				mails := h.Messages()
				if len(mails) != test.mails {
					t.Fatalf("got %d messages, want %d", len(mails), test.mails)
				}
				for _, m := range mails {
					if string(m.Data) != "first\r\nlast\r\n" || m.Chunks != 2 {
						t.Errorf("got %q in %d chunks, want both of them", m.Data, m.Chunks)
					}
				}
			})
		})
	}
}

// TestChunkBegun: CloseAt acts in the middle of a chunk, not before it.
func TestChunkBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := chunked(t)
		h.CloseAt(smtp.StageBody)
		io.WriteString(c, "BDAT 2 LAST\r\n")
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if got, err := io.ReadAll(c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("before the chunk: got %q and %v, want nothing", got, err)
		}
		io.WriteString(c, "\r")
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
			t.Errorf("in the chunk: got %q and %v, want the end", got, err)
		}
	})
}

// TestChunkBabble: the reply to a chunk can be endless.
func TestChunkBabble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := chunked(t)
		h.BabbleAt(smtp.StageBody)
		io.WriteString(c, "BDAT 2\r\n\r\n")
		if n, err := io.CopyN(io.Discard, c, 1<<20); err != nil {
			t.Fatalf("got %d octets and %v, want a megabyte", n, err)
		}
	})
}

// TestChunkCut: a chunk that is cut leaves no message, and the host waits for the rest of a chunk no longer than for a
// command.
func TestChunkCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := chunked(t)
		io.WriteString(c, "BDAT 5 LAST\r\n1234")
		c.Close()
		synctest.Wait()
		if got := h.Transcript(); !strings.Contains(got, "connection lost") || strings.Contains(got, "1234") {
			t.Errorf("got the transcript\n%s", got)
		}

		h, c = chunked(t)
		start := time.Now()
		io.WriteString(c, "BDAT 5 LAST\r\n1234")
		if got, err := io.ReadAll(c); !strings.HasPrefix(string(got), "421 4.4.2 ") || err != nil || time.Since(start) != idle {
			t.Errorf("got %q and %v after %v, want a 421 after %v", got, err, time.Since(start), idle)
		}
		if n := len(h.Messages()); n != 0 {
			t.Errorf("got %d messages, want none", n)
		}
	})
}

// TestChunkTranscript: the content of a message isn't in the transcript.
func TestChunkTranscript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := chunked(t)
		talk(t, c, "BDAT 8\r\nsecret: 250", "BDAT 0 LAST: 250", "BDAT 8\r\nsecret: 503")
		if got := h.Transcript(); strings.Contains(got, "secret") || !strings.Contains(got, "BDAT 8") {
			t.Errorf("got the transcript\n%s", got)
		}
	})
}

// TestChunkingLasts: Chunking and Limit survive Heal. Without removes both.
func TestChunkingLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewNetwork(t).Host("mx.example.net")
		h.BinaryMIME()
		h.Limit(Limits{RcptDomainMax: 1})
		h.Heal()
		offers := func() string { return " " + strings.Join(h.extensions(true), " ") + " " }
		for _, want := range []string{" CHUNKING ", " BINARYMIME ", " LIMITS RCPTDOMAINMAX=1 "} {
			if got := offers(); !strings.Contains(got, want) {
				t.Errorf("got%s, want%s", got, want)
			}
		}
		h.Without("chunking", "LIMITS")
		if got := offers(); strings.Contains(got, "CHUNKING") || strings.Contains(got, "LIMITS") || !strings.Contains(got, " BINARYMIME ") {
			t.Errorf("without CHUNKING and LIMITS: got%s", got)
		}
		h.Without("BINARYMIME")
		h.Chunking()
		if got := offers(); !strings.Contains(got, " CHUNKING ") || strings.Contains(got, "BINARYMIME") {
			t.Errorf("with CHUNKING again: got%s", got)
		}
		h.BinaryMIME()
		h.Limit(Limits{RcptMax: 2})
		if got := offers(); !strings.Contains(got, " BINARYMIME ") || !strings.Contains(got, " LIMITS RCPTMAX=2 ") {
			t.Errorf("with BINARYMIME and LIMITS again: got%s", got)
		}
		h.Limit(Limits{})
		if got := offers(); strings.Contains(got, "LIMITS") {
			t.Errorf("without limits: got%s", got)
		}
	})
}

// TestEmptyChunk: CloseAt acts on an empty chunk, too.
func TestEmptyChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := chunked(t)
		h.CloseAt(smtp.StageBody)
		start := time.Now()
		if _, err := io.WriteString(c, "BDAT 0 LAST\r\n"); err != nil {
			t.Fatal(err)
		}
		if code, err := readCode(c); err == nil || time.Since(start) != 0 {
			t.Errorf("got %q, %v after %v, want the end at once", code, err, time.Since(start))
		}
	})
}
