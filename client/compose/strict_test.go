package compose

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// strictPart is a message or a part of one, as the strict reader reads it.
type strictPart struct {
	fields []Field // unfolded and not decoded
	kind   string
	params map[string]string
	body   string // decoded; with CRLF
	parts  []*strictPart
}

// readStrict reads a message by the letter of RFC 5322 and 2045 to 2047. Whatever else stands in it is an error.
func readStrict(s string) (*strictPart, error) {
	for i, line := range strings.Split(s, "\r\n") {
		if strings.ContainsAny(line, "\r\n\x00") || len(line) > 998 {
			return nil, fmt.Errorf("line %d has a bare CR, a bare LF, a NUL or %d octets: %.100q", i, len(line), line)
		}
	}
	if !isASCII(s) {
		return nil, fmt.Errorf("octets beyond ASCII")
	}
	return readPart(s)
}

// likeEncoded is what some readers decode, wherever it stands.
var likeEncoded = regexp.MustCompile(`=\?[^?]+\?[bqBQ]\?[^?]*\?=`)

var fieldLine = regexp.MustCompile(`^([!-9;-~]+):( .*)?$`)

func readPart(s string) (*strictPart, error) {
	p := &strictPart{kind: "text/plain"}
	head, body, ok := strings.Cut("\r\n"+s, "\r\n\r\n")
	if !ok {
		return nil, fmt.Errorf("a header without an end: %q", s)
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(head, "\r\n"), "\r\n") {
		if likeEncoded.MatchString(line) && len(line) > 76 { // RFC 2047 §2
			return nil, fmt.Errorf("a line of %d octets with an encoded-word: %q", len(line), line)
		}
		if strings.HasPrefix(line, " ") {
			if len(p.fields) == 0 || strings.TrimSpace(line) == "" {
				return nil, fmt.Errorf("a continuation of nothing, or of spaces: %q", line)
			}
			p.fields[len(p.fields)-1].Value += line
			continue
		}
		m := fieldLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("no field: %q", line)
		}
		p.fields = append(p.fields, Field{m[1], m[2]})
	}
	for i := range p.fields {
		p.fields[i].Value = strings.TrimPrefix(p.fields[i].Value, " ")
	}
	if kind := p.get("Content-Type"); kind != "" {
		var err error
		if p.kind, p.params, err = readParams(kind); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(p.kind, "multipart/") {
		return p, p.split(body)
	}
	return p, p.decode(body)
}

func (p *strictPart) get(name string) string {
	i := slices.IndexFunc(p.fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		return ""
	}
	return p.fields[i].Value
}

func (p *strictPart) split(body string) error {
	boundary := p.params["boundary"]
	pieces := strings.Split("\r\n"+body, "\r\n--"+boundary)
	if boundary == "" || len(pieces) < 4 || pieces[0] != "" || pieces[len(pieces)-1] != "--\r\n" && pieces[len(pieces)-1] != "--" {
		return fmt.Errorf("a multipart in %d pieces, boundary %q", len(pieces), boundary)
	}
	for _, piece := range pieces[1 : len(pieces)-1] {
		after, ok := strings.CutPrefix(piece, "\r\n")
		if !ok {
			return fmt.Errorf("a line that continues a boundary: %.100q", piece)
		}
		child, err := readPart(after)
		if err != nil {
			return err
		}
		p.parts = append(p.parts, child)
	}
	return nil
}

func (p *strictPart) decode(body string) error {
	for line := range strings.SplitSeq(body, "\r\n") {
		if strings.HasPrefix(line, "From ") || strings.HasPrefix(line, ".") || strings.TrimRight(line, " \t") != line || len(line) > 78 {
			return fmt.Errorf("a line that some hosts change: %q", line)
		}
	}
	var b []byte
	var err error
	switch encoding := p.get("Content-Transfer-Encoding"); encoding {
	case "7bit":
		b = []byte(body)
	case "quoted-printable":
		for line := range strings.SplitSeq(body, "\r\n") {
			if len(line) > 76 {
				return fmt.Errorf("a line of quoted-printable: %q", line)
			}
		}
		b, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	case "base64":
		for line := range strings.SplitSeq(body, "\r\n") {
			if len(line) > 76 {
				return fmt.Errorf("a line of base64: %q", line)
			}
		}
		b, err = base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	default:
		return fmt.Errorf("encoding %q", encoding)
	}
	p.body = string(b)
	return err
}

// encodedWord is one that is no longer than 75 octets, by RFC 2047 §2.
var encodedWord = regexp.MustCompile(`^=\?utf-8\?([bq])\?([!-~]*)\?=$`)

// readWords decodes free text. Encoded-words stand between spaces; those between two of them fall away.
func readWords(s string) (string, error) {
	var out strings.Builder
	before := false // the last word was an encoded one
	spaces := ""
	for i, word := range strings.Split(s, " ") {
		if i > 0 {
			spaces += " "
		}
		if word == "" {
			continue
		}
		decoded, is, err := readWord(word)
		if err != nil {
			return "", err
		}
		if !is || !before {
			out.WriteString(spaces)
		}
		out.WriteString(decoded)
		before, spaces = is, ""
	}
	return out.String() + spaces, nil
}

func readWord(word string) (decoded string, is bool, err error) {
	m := encodedWord.FindStringSubmatch(word)
	if m == nil {
		if likeEncoded.MatchString(word) {
			err = fmt.Errorf("an encoded-word that touches others: %q", word)
		}
		return word, false, err
	}
	if strings.Contains(m[2], "?") || len(word) > 75 {
		return "", false, fmt.Errorf("an encoded-word %q", word)
	}
	var b []byte
	if m[1] == "b" {
		b, err = base64.StdEncoding.Strict().DecodeString(m[2])
	} else {
		b, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(strings.ReplaceAll(m[2], "_", "=20"))))
	}
	if !utf8.Valid(b) { // RFC 2047 §5: whole characters
		err = fmt.Errorf("an encoded-word %q of %q", word, b)
	}
	return string(b), true, err
}

// readAddresses reads addresses in angle brackets, each behind a phrase or nothing (RFC 5322 §3.4).
func readAddresses(s string) (all [][2]string, err error) {
	for rest := s; ; {
		name := ""
		if strings.HasPrefix(rest, `"`) {
			quoted, after, ok := readQuoted(rest)
			if !ok || !strings.HasPrefix(after, " ") {
				return nil, fmt.Errorf("a quoted string: %q", rest)
			}
			name, rest = quoted, after[1:]
		} else {
			i := strings.IndexByte(rest, '<')
			if i < 0 {
				return nil, fmt.Errorf("no address: %q", rest)
			}
			phrase := strings.TrimSuffix(rest[:i], " ")
			if strings.ContainsAny(phrase, `"(),.:;@[]\>`) { // RFC 2047 §5 (3), RFC 5322 §3.2.3
				return nil, fmt.Errorf("a phrase: %q", phrase)
			}
			if name, err = readWords(phrase); err != nil {
				return nil, err
			}
			rest = rest[i:]
		}
		end := strings.IndexByte(rest, '>')
		if strings.Contains(rest, `"`) && strings.Index(rest, `"`) < end { // a local part in quotes
			_, after, ok := readQuoted(rest[1:])
			if !ok {
				return nil, fmt.Errorf("a local part: %q", rest)
			}
			end = len(rest) - len(after) + strings.IndexByte(after, '>')
		}
		if !strings.HasPrefix(rest, "<") || end < 0 {
			return nil, fmt.Errorf("an address: %q", rest)
		}
		all = append(all, [2]string{name, rest[1:end]})
		if rest = rest[end+1:]; rest == "" {
			return all, nil
		}
		after, ok := strings.CutPrefix(rest, ", ")
		if !ok {
			return nil, fmt.Errorf("behind an address: %q", rest)
		}
		rest = after
	}
}

// readQuoted reads the quoted string that s begins with.
func readQuoted(s string) (value, after string, ok bool) {
	var b bytes.Buffer
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

var paramStart = regexp.MustCompile("^; ([a-zA-Z0-9!#$%&'*+.^_`{|}~-]+)=")

// readParams reads a value with parameters, those of RFC 2231 included.
func readParams(s string) (value string, params map[string]string, err error) {
	value, _, _ = strings.Cut(s, ";")
	rest := s[len(value):]
	params = make(map[string]string)
	sections := make(map[string]string)
	for rest != "" {
		m := paramStart.FindStringSubmatch(rest)
		if m == nil {
			return "", nil, fmt.Errorf("a parameter: %q", rest)
		}
		rest = rest[len(m[0]):]
		var v string
		if strings.HasPrefix(rest, `"`) {
			var ok bool
			if v, rest, ok = readQuoted(rest); !ok {
				return "", nil, fmt.Errorf("a quoted string: %q", rest)
			}
		} else {
			end := strings.IndexByte(rest+";", ';')
			v, rest = rest[:end], rest[end:]
			if v == "" || strings.ContainsAny(v, ` "()<>@,:\/[]?=`) { // RFC 2045 §5.1
				return "", nil, fmt.Errorf("a token: %q", v)
			}
		}
		if _, twice := params[m[1]]; twice {
			return "", nil, fmt.Errorf("parameter %s twice", m[1])
		}
		params[m[1]] = v
		if strings.HasSuffix(m[1], "*") {
			sections[m[1]] = v
		}
	}
	for name, v := range sections {
		base, number, split := strings.Cut(strings.TrimSuffix(name, "*"), "*")
		if split && number != "0" {
			continue
		}
		for i := 1; split; i++ {
			next, ok := sections[base+"*"+itoa(i)+"*"]
			if !ok {
				break
			}
			v += next
		}
		text, ok := strings.CutPrefix(v, "utf-8''")
		if !ok {
			return "", nil, fmt.Errorf("charset of %q", v)
		}
		if params[base], err = url.PathUnescape(text); err != nil {
			return "", nil, err
		}
	}
	return value, params, nil
}
