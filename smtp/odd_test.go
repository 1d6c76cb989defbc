package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// oddContent is a Content with any size, and octets or an error at any offset.
type oddContent struct {
	size int64
	n    int
	err  error
}

func (c oddContent) Size() int64                       { return c.size }
func (c oddContent) ReadAt([]byte, int64) (int, error) { return c.n, c.err }

// TestOddValues calls each func and method with values that nobody should pass: it returns an error or a documented
// default, and doesn't panic.
func TestOddValues(t *testing.T) {
	odd := errors.New("odd")
	var w bytes.Buffer
	tests := []struct {
		name string
		do   func() error
		want string // in the error; "": none
	}{
		{"WriteData, size -1", func() error { return smtp.WriteData(&w, oddContent{size: -1}) }, "size is -1"},
		{"WriteData, the lowest size", func() error { return smtp.WriteData(&w, oddContent{size: math.MinInt64}) }, "size is -9223372036854775808"},
		{"WriteData, the highest size", func() error { return smtp.WriteData(&w, oddContent{size: math.MaxInt64}) }, "unexpected EOF"},
		{"WriteData, nil", func() error { return smtp.WriteData(&w, nil) }, "content is nil"},
		{"WriteData, more than asked for", func() error { return smtp.WriteData(&w, oddContent{size: 5, n: 1 << 20}) }, "1048576 octets"},
		{"WriteData, a negative number", func() error { return smtp.WriteData(&w, oddContent{size: 5, n: -1}) }, "-1 octets"},
		{"WriteData, an error", func() error { return smtp.WriteData(&w, oddContent{size: 5, err: odd}) }, "odd"},
		{"Scan, size -1", func() error { _, err := smtp.Scan(oddContent{size: -1}); return err }, "size is -1"},
		{"Scan, nil", func() error { _, err := smtp.Scan(nil); return err }, "content is nil"},
		{"ScanBinary, nil", func() error { _, err := smtp.ScanBinary(nil); return err }, "content is nil"},
		{"SevenBit, nil", func() error { _, _, err := smtp.SevenBit(nil); return err }, "smtp: content: the content is nil"},
		{"SevenBit, size -1", func() error { _, _, err := smtp.SevenBit(oddContent{size: -1}); return err }, "smtp: content: its size is -1"},
		{"SevenBit, more than asked for", func() error { _, _, err := smtp.SevenBit(oddContent{size: 5, n: 1 << 20}); return err }, "1048576 octets"},
		{"SevenBit, a negative number", func() error { _, _, err := smtp.SevenBit(oddContent{size: 5, n: -1}); return err }, "-1 octets"},
		{"SevenBit, an error", func() error { _, _, err := smtp.SevenBit(oddContent{size: 5, err: odd}); return err }, "odd"},
		{"HasEightBitPartHeader, nil", func() error { _, err := smtp.HasEightBitPartHeader(nil); return err }, "smtp: content: the content is nil"},
		{"NewReader, nil", func() error { _, err := io.ReadAll(smtp.NewReader(nil)); return err }, "content is nil"},
		{"NewReader, size -1", func() error { _, err := io.ReadAll(smtp.NewReader(oddContent{size: -1})); return err }, "size is -1"},
		{"NewReader, the highest size", func() error {
			_, err := smtp.NewReader(oddContent{math.MaxInt64, 0, odd}).Read(make([]byte, 9))
			return err
		}, "odd"},
		{"NewReader, no progress", func() error { _, err := io.ReadAll(smtp.NewReader(oddContent{size: 10})); return err }, "unexpected EOF"},
		{"NewReader, more than asked for", func() error { _, err := io.ReadAll(smtp.NewReader(oddContent{size: 10, n: 1 << 20})); return err },
			"1048576 octets"},
		{"WriteData, a nil writer", func() error { return smtp.WriteData(nil, smtp.Text("Hello.\n")) }, "writer is nil"},
		{"a zero ContentError", func() error { return new(smtp.ContentError) }, "smtp: content: it can't be read"},
		{"ReadReply, a zero bufio.Reader", func() error { _, err := smtp.ReadReply(new(bufio.Reader)); return err }, "buffer full"},
		{"CheckedReader, nil", func() error { _, err := io.ReadAll(smtp.CheckedReader(nil)); return err }, "content is nil"},
		{"CRLFReader, nil", func() error { _, err := io.ReadAll(smtp.CRLFReader(nil)); return err }, "reader is nil"},
		{"CRLFReader, no progress", func() error { _, err := io.ReadAll(smtp.CRLFReader(oddReader{})); return err }, io.ErrNoProgress.Error()},
		{"CRLFReader, too many", func() error { _, err := io.ReadAll(smtp.CRLFReader(oddReader{1 << 20})); return err }, "1048576 octets"},
		{"CRLFReader, a negative number", func() error { _, err := io.ReadAll(smtp.CRLFReader(oddReader{-1})); return err }, "-1 octets"},
		{"a zero DataReader", func() error { _, err := new(smtp.DataReader).Read(make([]byte, 9)); return err }, "NewDataReader"},
		{"a zero DataReader, Drain", func() error { return new(smtp.DataReader).Drain(0) }, "NewDataReader"},
		{"NewDataReader, nil", func() error { _, err := io.ReadAll(smtp.NewDataReader(nil)); return err }, "NewDataReader"},
		{"DataReader, the highest bounds", func() error {
			d := smtp.NewDataReader(bufio.NewReader(strings.NewReader("Hello.\r\n.\r\n")))
			d.MaxSize, d.MaxLine = math.MaxInt64, math.MaxInt
			_, err := io.ReadAll(d)
			return err
		}, ""},
		{"DataReader, the lowest bounds", func() error {
			d := smtp.NewDataReader(bufio.NewReader(strings.NewReader("Hello.\r\n.\r\n")))
			d.MaxSize, d.MaxLine = math.MinInt64, math.MinInt
			return errors.Join(d.Drain(math.MinInt64))
		}, ""},
		{"ReadReply, nil", func() error { _, err := smtp.ReadReply(nil); return err }, "reader is nil"},
		{"ReadReplyUnless, no func", func() error {
			_, _, err := smtp.ReadReplyUnless(bufio.NewReader(strings.NewReader("250 ok\r\n")), nil)
			return err
		}, ""},
		{"Envelope.Check, nil", func() error { return (*smtp.Envelope)(nil).Check() }, "envelope is nil"},
		{"Envelope.Check, zero", func() error { return new(smtp.Envelope).Check() }, "without recipients"},
		{"Envelope.Check, nothing in range", func() error {
			return (&smtp.Envelope{Recipients: make([]smtp.Recipient, 1), Body: 255, Ret: 255, Size: math.MinInt64}).Check()
		}, "local part"},
		{"Recipient.Check, zero", func() error { return new(smtp.Recipient).Check() }, "local part"},
		{"Recipient.Check, nil", func() error { return (*smtp.Recipient)(nil).Check() }, "recipient is nil"},
		{"ParseMail", func() error { _, err := smtp.ParseMail(""); return err }, "501"},
		{"ParseRcpt", func() error { _, err := smtp.ParseRcpt("TO:<>"); return err }, "501"},
		{"DecodeXtext", func() error { _, err := smtp.DecodeXtext("+"); return err }, "xtext"},
		{"SenderFunc, nil", func() error {
			_, err := smtp.SenderFunc(nil).Send(context.Background(), smtp.NewEnvelope(""), smtp.Text(""))
			return err
		}, "SenderFunc is nil"},
		{"AuthMechanism, nil", func() error {
			_, err := smtp.AuthMechanism(nil).Begin(context.Background(), smtp.AuthHost{})
			return err
		}, "AuthMechanism is nil"},
		{"Reason", func() error { return new(smtp.Reason).UnmarshalText(nil) }, "no such name"},
		{"Origin", func() error { return new(smtp.Origin).UnmarshalText([]byte(strings.Repeat("x", 1<<20))) }, "no such name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.Reset()
			err := tt.do()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if strings.HasSuffix(w.String(), ".\r\n") {
				t.Errorf("got %q written, want no end of a message", w.String())
			}
		})
	}
}

// oddReader returns that number and nothing else.
type oddReader struct{ n int }

func (r oddReader) Read([]byte) (int, error) { return r.n, nil }

// TestOddText: what a value has to say for itself, and on the wire.
func TestOddText(t *testing.T) {
	reply := func(r *smtp.Reply) string { return string(r.AppendTo(nil)) }
	for _, tt := range []struct{ name, got, want string }{
		{"a zero Reply", reply(new(smtp.Reply)), "451 4.3.0\r\n"},
		{"a nil Reply", reply(nil), "451 4.3.0\r\n"},
		{"a code of one digit", reply(smtp.NewReply(7, "", "no")), "451 4.3.0 no\r\n"},
		{"a negative code", reply(smtp.NewReply(-250, "", "no")), "451 4.3.0 no\r\n"},
		{"a code of four digits", reply(smtp.NewReply(2500, "", "no")), "451 4.3.0 no\r\n"},
		{"a code that SMTP doesn't have", reply(smtp.NewReply(199, "", "no")), "451 4.3.0 no\r\n"},
		{"the highest code", reply(smtp.NewReply(599, "5.999.999", "no")), "599 5.999.999 no\r\n"},
		{"an enhanced code of another class", reply(smtp.NewReply(550, "4.1.1", "no")), "550 no\r\n"},
		{"an enhanced code that is none", reply(&smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{-5, 1 << 40, 1}, Text: "no"}), "550 no\r\n"},
		{"an enhanced code of another class, by hand", reply(&smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "no"}), "550 no\r\n"},
		{"CRLF", reply(smtp.NewReply(550, "", "no\r\n250 yes")), "550-no\r\n550 250 yes\r\n"},
		{"CR and LF", reply(smtp.NewReply(550, "", "no\r250 yes\n\n")), "550-no?250 yes\r\n550-\r\n550 \r\n"},
		{"NUL and others", reply(smtp.NewReply(550, "", "\x00\x7f\u0085\u2028\xff")), "550 ?????\r\n"},
		{"Error of a nil Reply", (*smtp.Reply)(nil).Error(), "no reply"},
		{"EnhancedCode", smtp.EnhancedCode{-1, math.MaxInt, math.MinInt}.String(), "-1.9223372036854775807.-9223372036854775808"},
		{"Notify", smtp.Notify(255).String(), "NEVER,SUCCESS,FAILURE,DELAY"},
		{"Body", smtp.BodyType(255).String(), ""},
		{"Ret", smtp.Ret(255).String(), ""},
		{"Outcome", smtp.Outcome(255).String(), "unknown"},
		{"Stage", smtp.Stage(255).String(), "unknown"},
		{"Reason", smtp.Reason(255).String(), "reason-255"},
		{"Origin", smtp.Origin(255).String(), "origin-255"},
		{"EncodeORCPT", smtp.EncodeORCPT("", true), ";"},
		{"AppendMail", string(new(smtp.Envelope).AppendMail(nil, smtp.Offer{Size: math.MinInt64, Body: 255, DSN: true})), "MAIL FROM:<>\r\n"},
		{"AppendRcpt", string(new(smtp.Recipient).AppendRcpt(nil, smtp.Offer{DSN: true})), "RCPT TO:<>\r\n"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

// TestOddResults: Complete has one good Result for each recipient, whatever a Sender returns.
func TestOddResults(t *testing.T) {
	env := smtp.NewEnvelope("ann@source.test", "bob@next.test", "eve@next.test")
	var noReply *smtp.Reply
	for _, tt := range []struct {
		name    string
		results []smtp.Result
		err     error
		want    string
	}{
		{"zero Results", make([]smtp.Result, 2), nil, "deferred, deferred"},
		{"too many", make([]smtp.Result, 1000), nil, "deferred, deferred"},
		{"a typed nil error", nil, noReply, "deferred, deferred"},
		{"a positive error", nil, smtp.NewReply(250, "", "ok"), "deferred, deferred"},
		{"an error with an impossible code", nil, smtp.NewReply(9999, "", "no"), "deferred, deferred"},
		{"no outcome there is", []smtp.Result{{Outcome: 255, Reply: smtp.NewReply(250, "", "")}, {Outcome: 254}}, nil, "unknown, deferred"},
		{"a reply without a code", []smtp.Result{{Outcome: smtp.Rejected, Reply: new(smtp.Reply)}, {Outcome: smtp.Rejected, Stage: 255, Reply: new(smtp.Reply)}},
			nil, "rejected, rejected"},
	} {
		results, _ := smtp.Complete(env, tt.results, tt.err)
		if len(results) != 2 {
			t.Fatalf("%s: got %d results, want 2", tt.name, len(results))
		}
		got := fmt.Sprintf("%v, %v", results[0].Outcome, results[1].Outcome)
		if got != tt.want || results[0].Reply == nil || results[1].Reply == nil {
			t.Errorf("%s: got %s, want %s, each with a Reply", tt.name, got, tt.want)
		}
	}
	if results, missing := smtp.Complete(nil, nil, nil); len(results) != 0 || missing != 0 {
		t.Errorf("a nil envelope: got %v and %d missing, want none", results, missing)
	}
}
