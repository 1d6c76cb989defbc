package tlsrpt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

// Bounds on a mail that is read.
const (
	maxMail       = 16 << 20 // octets
	maxMailHeader = 1 << 20  // octets of it: each field takes much more memory
	maxParts      = 20
	maxDepth      = 3 // of parts within parts
)

// Mail is a mail with a report (RFC 8460 §5.3).
type Mail struct {
	// Domain and Submitter are the values of TLS-Report-Domain and TLS-Report-Submitter: whom the report is about, and
	// who has sent it. If empty, the mail hasn't got the field. Anyone can write them, as the report itself.
	Domain, Submitter string

	Report *Report
}

// errNoReport is the error for a mail without a report.
var errNoReport = errors.New("it has no report")

// ParseMail reads a mail with a report: the first part that has the type of a report, or a file name that ends in .json
// or .json.gz. It may be the mail itself, and it may lie within other parts. At most 16 MiB of the mail, 20 parts and 3
// levels of parts are read, and the bounds of [Parse] apply. A header of about 1 MiB or more is an error.
func ParseMail(r io.Reader) (*Mail, error) {
	if r == nil {
		return nil, fmt.Errorf("tlsrpt: mail: %w", errNoReader)
	}
	limited := &io.LimitedReader{R: r, N: maxMailHeader}
	m, err := mail.ReadMessage(limited)
	if limited.N == 0 {
		err = fmt.Errorf("its header has over %d octets", maxMailHeader)
	}
	if err != nil {
		return nil, fmt.Errorf("tlsrpt: mail: %w", err)
	}
	limited.N += maxMail - maxMailHeader
	left := maxParts
	b, err := findReport(textproto.MIMEHeader(m.Header), m.Body, maxDepth, &left)
	if err != nil {
		return nil, fmt.Errorf("tlsrpt: mail: %w", err)
	}
	report, err := Parse(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	trim := func(name string) string { return strings.TrimSpace(m.Header.Get(name)) }
	return &Mail{Domain: trim("TLS-Report-Domain"), Submitter: trim("TLS-Report-Submitter"), Report: report}, nil
}

// findReport returns the octets of the first report in a part, whose encoding is undone.
func findReport(h textproto.MIMEHeader, body io.Reader, depth int, left *int) ([]byte, error) {
	if *left--; *left < 0 || depth < 0 {
		return nil, errors.New("it has too many parts")
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err == nil && strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err == io.EOF {
				return nil, errNoReport
			}
			if err != nil {
				return nil, err
			}
			b, err := findReport(part.Header, part, depth-1, left)
			if !errors.Is(err, errNoReport) {
				return b, err
			}
		}
	}
	if !isReport(kind, params, h.Get("Content-Disposition")) {
		return nil, errNoReport
	}
	switch strings.ToLower(strings.TrimSpace(h.Get("Content-Transfer-Encoding"))) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	return io.ReadAll(io.LimitReader(body, maxMail))
}

// isReport reports whether a part is a report: by its type, or by the name of its file. Some write application/gzip.
func isReport(kind string, params map[string]string, disposition string) bool {
	if kind == typeGzip || kind == typeJSON {
		return true
	}
	name := params["name"]
	if _, params, err := mime.ParseMediaType(disposition); err == nil && params["filename"] != "" {
		name = params["filename"]
	}
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".json.gz")
}
