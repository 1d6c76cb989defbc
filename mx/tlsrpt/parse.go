package tlsrpt

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"
)

// Bounds on a report that is read. One beyond them is an error.
const (
	MaxSize     = 8 << 20 // octets of the JSON
	MaxPolicies = 1000    // in a report
	MaxDetails  = 10_000  // in a report, those of all policies together
	MaxLines    = 1000    // in a policy, and as many Hosts
)

// Parse reads a report as it comes by HTTPS, or as a file: JSON, or JSON compressed by gzip. A report is what others
// say, and maybe nobody has proved who: see the package doc.
//
// Fields that RFC 8460 doesn't have are ignored. An address that isn't valid is zero. A count is a whole number of 0 or
// more. The policy-string and the mx-host may be a string instead of a list of strings.
func Parse(r io.Reader) (*Report, error) {
	report, err := parse(r)
	if err != nil {
		return nil, fmt.Errorf("tlsrpt: report: %w", err)
	}
	return report, nil
}

var errNoReader = errors.New("the reader is nil: set it to one of the report")

func parse(r io.Reader) (*Report, error) {
	if r == nil {
		return nil, errNoReader
	}
	br := bufio.NewReader(r)
	var text io.Reader = br
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		text = unzipped
	}
	b, err := io.ReadAll(io.LimitReader(text, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("over %d octets", MaxSize)
	}
	return parseJSON(bytes.TrimPrefix(b, []byte("\ufeff")))
}

func parseJSON(b []byte) (*Report, error) {
	var w wireReport
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, err
	}
	report := &Report{Organization: w.Organization, Contact: w.Contact, ID: w.ID}
	var err error
	if report.Begin, err = time.Parse(time.RFC3339, w.Range.Begin); err != nil {
		return nil, fmt.Errorf("start-datetime: %w", err)
	}
	if report.End, err = time.Parse(time.RFC3339, w.Range.End); err != nil {
		return nil, fmt.Errorf("end-datetime: %w", err)
	}
	if report.End.Before(report.Begin) {
		return nil, fmt.Errorf("it ends at %s, before it begins at %s", w.Range.End, w.Range.Begin)
	}
	policies, err := decodeList[wirePolicy](w.Policies, MaxPolicies)
	if err == nil && len(policies) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	report.Policies, err = policiesOf(policies, MaxDetails)
	return report, err
}

// policiesOf returns policies that were read from JSON, and have at most so many details together.
func policiesOf(list []wirePolicy, left int) ([]Policy, error) {
	policies := make([]Policy, len(list))
	for i, w := range list {
		details, err := decodeList[wireDetail](w.Details, left)
		if err != nil {
			return nil, fmt.Errorf("failure-details: %w", err)
		}
		left -= len(details)
		policies[i] = Policy{
			Type: w.Policy.Type, Lines: w.Policy.Lines, Domain: w.Policy.Domain, Hosts: w.Policy.Hosts,
			Successes: int64(w.Summary.Successes), Failures: int64(w.Summary.Failures),
		}
		for _, d := range details {
			policies[i].Details = append(policies[i].Details, Detail{
				Type: d.Type, SendingIP: addrOf(d.SendingIP), Host: d.Host, Greeting: d.Greeting,
				ReceivingIP: addrOf(d.ReceivingIP), Sessions: int64(d.Sessions), Info: d.Info, Code: d.Code,
			})
		}
	}
	return policies, nil
}

func addrOf(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("")
}

// decodeList reads a list of at most so many elements: a short text may have millions, of which each takes memory. A
// missing list is empty, and so is null.
func decodeList[T any](b []byte, most int) ([]T, error) {
	if len(b) == 0 || string(b) == "null" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("want a list, got %.20q", b)
	}
	var list []T
	for d.More() {
		if len(list) == most {
			return nil, errors.New("too many")
		}
		var element T
		if err := d.Decode(&element); err != nil {
			return nil, err
		}
		list = append(list, element)
	}
	return list, nil
}

// wireTexts is a list of strings, or one string in its place.
type wireTexts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *wireTexts) UnmarshalJSON(b []byte) (err error) {
	if len(b) > 0 && b[0] == '"' {
		*t = make(wireTexts, 1)
		return json.Unmarshal(b, &(*t)[0])
	}
	*t, err = decodeList[string](b, MaxLines)
	return err
}

// wireCount is a number of sessions.
type wireCount int64

// UnmarshalJSON implements json.Unmarshaler.
func (c *wireCount) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseUint(string(b), 10, 53) // RFC 8259 §6: what all readers of JSON can hold
	if err != nil {
		return fmt.Errorf("number of sessions %.40q: want a whole number of 0 or more", b)
	}
	*c = wireCount(n)
	return nil
}
