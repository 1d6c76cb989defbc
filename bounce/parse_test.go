package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/smtp"
)

// parsed is a report as the standard library reads it.
type parsed struct {
	header   mail.Header
	types    [3]string // media types of the parts, without parameters
	encoding [3]string // encodings that the parts declare; "" for quoted-printable, which multipart decodes
	text     string
	message  textproto.MIMEHeader
	groups   []textproto.MIMEHeader
	original string
}

var (
	headerFields = fieldSet("From To Subject Date Message-ID In-Reply-To References Auto-Submitted " +
		"MIME-Version Content-Type Content-Transfer-Encoding")
	partFields    = fieldSet("Content-Type Content-Language Content-Transfer-Encoding")
	messageFields = fieldSet("Original-Envelope-Id Reporting-MTA Arrival-Date")
	groupFields   = fieldSet("Original-Recipient Final-Recipient Action Status Remote-MTA Diagnostic-Code " +
		"Last-Attempt-Date Will-Retry-Until")
)

func fieldSet(names string) []string {
	set := strings.Fields(names)
	for i, name := range set {
		set[i] = textproto.CanonicalMIMEHeaderKey(name)
	}
	return set
}

// parse reads a report, and fails the test if the report breaks a rule that all reports keep.
func parse(t *testing.T, env *smtp.Envelope, c smtp.Content) parsed {
	t.Helper()
	if env.From != "" || env.Ret != smtp.RetUnknown ||
		len(env.Recipients) != 1 || env.Recipients[0].Notify != smtp.NotifyNever {
		t.Errorf("got envelope %+v, want the null reverse-path, one recipient with NOTIFY=NEVER, no RET", env)
	}
	if err := env.Check(); err != nil {
		t.Errorf("envelope: %v", err)
	}
	facts, err := smtp.Scan(c)
	if err != nil {
		t.Fatal(err)
	}
	if facts.LongLine {
		t.Error("got a line over 998 octets")
	}
	if facts.HeaderUTF8 != env.UTF8 {
		t.Errorf("got UTF-8 in the header %v, in the envelope %v", facts.HeaderUTF8, env.UTF8)
	}
	m, err := mail.ReadMessage(smtp.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	p := parsed{header: m.Header}
	checkFields(t, "header", textproto.MIMEHeader(m.Header), headerFields)
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Errorf("got Content-Type %q, want a multipart/report with the report-type delivery-status",
			m.Header.Get("Content-Type"))
	}
	bodies := p.readParts(t, multipart.NewReader(m.Body, params["boundary"]))
	eightBit := slices.Contains(p.encoding[:], "8bit")
	encoding := m.Header.Get("Content-Transfer-Encoding")
	if (env.Body == smtp.Body8BitMIME) != eightBit || (encoding == "8bit") != eightBit {
		t.Errorf("got 8-bit parts %v, envelope %v, header %q", eightBit, env.Body, encoding)
	}
	if facts.EightBit && !facts.HeaderUTF8 && !eightBit {
		t.Error("got octets above 127 in parts that declare none")
	}
	p.text, p.original = string(bodies[0]), string(bodies[2])
	p.readStatus(t, bodies[1])
	return p
}

func (p *parsed) readParts(t *testing.T, r *multipart.Reader) (bodies [3][]byte) {
	t.Helper()
	for i := range 3 {
		part, err := r.NextPart()
		if err != nil {
			t.Fatalf("part %d: %v", i+1, err)
		}
		header := part.Header
		checkFields(t, "part", header, partFields)
		p.types[i], _, err = mime.ParseMediaType(header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("part %d: %v", i+1, err)
		}
		p.encoding[i] = header.Get("Content-Transfer-Encoding")
		if bodies[i], err = io.ReadAll(part); err != nil {
			t.Fatalf("part %d: %v", i+1, err)
		}
		if p.encoding[i] == "7bit" && !isASCII(bodies[i]) {
			t.Errorf("part %d: got octets above 127 in 7bit", i+1)
		}
	}
	if _, err := r.NextPart(); err != io.EOF {
		t.Errorf("got %v behind the third part, want the end", err)
	}
	return bodies
}

func (p *parsed) readStatus(t *testing.T, body []byte) {
	t.Helper()
	r := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(body), strings.NewReader("\r\n"))))
	for {
		if _, err := r.R.Peek(1); err == io.EOF {
			break
		}
		header, err := r.ReadMIMEHeader()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("status: %v\n%q", err, body)
		}
		if p.message == nil {
			checkFields(t, "message fields", header, messageFields)
			p.message = header
			continue
		}
		checkFields(t, "recipient fields", header, groupFields)
		for _, name := range []string{"Final-Recipient", "Action", "Status"} {
			if header.Get(name) == "" {
				t.Errorf("got no %s (RFC 3464 §2.3)", name)
			}
		}
		p.groups = append(p.groups, header)
	}
}

// checkFields fails the test if header has a field that isn't in known, or has one twice.
func checkFields(t *testing.T, what string, header textproto.MIMEHeader, known []string) {
	t.Helper()
	for name, values := range header {
		if !slices.Contains(known, name) || len(values) != 1 {
			t.Errorf("%s: got %s %d times: %q", what, name, len(values), values)
		}
	}
}

// compose composes r and parses the report.
func compose(t *testing.T, r *Report) parsed {
	t.Helper()
	env, content, err := r.Compose()
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, env, content)
}

// failing is a Content that can't be read.
type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }
func (failing) Size() int64                       { return 1 }
