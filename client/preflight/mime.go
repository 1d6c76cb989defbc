package preflight

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
)

// checkMIME looks at the MIME fields of the header, whether they announce an 8-bit body, and whether the body is as
// they say.
func (m *message) checkMIME(facts smtp.Facts, content smtp.Content) {
	contentType, typed := m.value("content-type")
	encoding, encoded := m.value("content-transfer-encoding")
	version, ok := m.value("mime-version")
	switch {
	case !ok && (typed || encoded):
		m.warn(BadMIME, "MIME-Version", "there is none, beside other MIME fields", "add MIME-Version: 1.0",
			"RFC 2045 §4")
	case ok && !strings.HasPrefix(version, "1.0"):
		m.warn(BadMIME, "MIME-Version", clip(version)+" isn't 1.0", "set it to 1.0", "RFC 2045 §4")
	}
	e, ok := m.entity("", contentType, encoding)
	if !ok {
		return
	}
	if facts.EightBitBody && !e.multipart() && !strings.HasPrefix(e.kind, "message/") {
		m.checkEightBitBody(&e, contentType)
	}
	m.checkBody(&e, m.body(content), 0)
}

// checkEightBitBody looks at the fields of a message without parts that has octets above 127.
func (m *message) checkEightBitBody(e *entity, contentType string) {
	if e.encoding != "8bit" && e.encoding != "binary" {
		m.refuse(EightBitBody, "body", fmt.Sprintf("it has octets above 127, and Content-Transfer-Encoding is %s",
			clip(e.encoding)), "set Content-Transfer-Encoding to 8bit, or encode the body", "RFC 2045 §6.1")
	}
	if strings.HasPrefix(e.kind, "text/") && e.params["charset"] == "" {
		m.refuse(EightBitBody, "Content-Type", clip(contentType)+" has no charset, and the body has octets above 127",
			"add charset=utf-8", "RFC 2046 §4.1.2")
	}
}

// checkEightBit looks at octets above 127 in headers.
func (m *message) checkEightBit(content smtp.Content) {
	declared := m.env.UTF8 || smtp.NeedsUTF8(m.env.From)
	for _, r := range m.env.Recipients {
		declared = declared || smtp.NeedsUTF8(r.Address)
	}
	for _, f := range m.fields {
		switch text := f.name + f.value; {
		case !utf8.ValidString(text):
			m.refuse(EightBitHeader, clipName(f.name), clip(f.value)+" has octets above 127 that aren't UTF-8",
				"encode it with mime.QEncoding", "RFC 6532 §3.2")
		case !declared && smtp.NeedsUTF8(text):
			m.refuse(EightBitHeader, clipName(f.name),
				clip(f.value)+" is in UTF-8, and the message doesn't need SMTPUTF8",
				"encode it with mime.QEncoding, or set Envelope.UTF8", "RFC 6531 §3.5")
		}
	}
	if declared {
		return
	}
	if inside, err := smtp.HasEightBitPartHeader(content); err == nil && inside {
		m.refuse(EightBitHeader, "header of a part", "it has octets above 127, and the message doesn't need SMTPUTF8",
			"encode file names by RFC 2231, as mime.FormatMediaType does", "RFC 6531 §3.5")
	}
}
