package header

import (
	"bytes"
	"time"
)

// AppendMissing appends to b the fields that a submission server adds where the header that top begins with lacks them:
// Date, and Message-ID with the value that id returns (RFC 6409 §8.2, §8.3). id isn't called for a header that has one.
func AppendMissing(b, top []byte, date time.Time, id func() string) []byte {
	hasDate, hasID := false, false
	for rest := top; Begins(top) && len(rest) > 0 && !bytes.HasPrefix(rest, []byte("\r\n")); {
		field := rest[:FieldEnd(rest)]
		rest = rest[len(field):]
		name, _, ok := bytes.Cut(field, []byte(":"))
		name = bytes.TrimRight(name, " \t\r\n") // some readers unfold before they look for the colon
		hasDate = hasDate || ok && bytes.EqualFold(name, []byte("Date"))
		hasID = hasID || ok && bytes.EqualFold(name, []byte("Message-ID"))
	}
	if !hasDate {
		b = date.AppendFormat(append(b, "Date: "...), "Mon, 02 Jan 2006 15:04:05 -0700\r\n")
	}
	if !hasID {
		b = append(append(append(b, "Message-ID: <"...), id()...), ">\r\n"...)
	}
	return b
}
