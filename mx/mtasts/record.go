package mtasts

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/internal/clip"
	"github.com/postrider/postrider/mx/internal/txtrecord"
)

// recordVersion begins a record of MTA-STS (RFC 8461 §3.1).
const recordVersion = "v=STSv1"

// errNoRecord is the error if none of the TXT records belongs to MTA-STS.
var errNoRecord = errors.New("no TXT record begins with " + recordVersion + ";")

// parseRecord returns the id in the TXT records of "_mta-sts." and a domain. Exactly one of them must be a record of
// MTA-STS.
func parseRecord(texts []string) (id string, err error) {
	// RFC 8461 §3.1: others are discarded, and if more or less than one remains, the domain has no policy.
	text, fields, n := txtrecord.Find(texts, recordVersion)
	switch {
	case n == 0:
		return "", errNoRecord
	case n > 1:
		return "", errors.New("several TXT records begin with " + recordVersion)
	}
	if id, err = parseFields(fields); err != nil {
		err = fmt.Errorf("TXT record %q: %w", shorten(text), err)
	}
	return id, err
}

// parseFields returns the id in the fields that follow the version.
func parseFields(fields string) (id string, err error) {
	for f := range txtrecord.Fields(fields) {
		switch {
		case !f.Valid || !isValue(f.Value):
			return "", fmt.Errorf("field %q: want a name, \"=\" and a value", shorten(f.Text))
		case f.Name == "id" && id == "": // RFC 8461 §3.2: of a duplicate, the first one counts
			if !isID(f.Value) {
				return "", fmt.Errorf("id %q: want 1 to 32 letters and digits", shorten(f.Value))
			}
			id = strings.Clone(f.Value) // a part of the record would keep all of it in memory
		}
	}
	if id == "" {
		return "", errors.New("it has no id")
	}
	return id, nil
}

// isID reports whether s is 1*32(ALPHA / DIGIT).
func isID(s string) bool {
	return s != "" && len(s) <= 32 && strings.IndexFunc(s, txtrecord.IsNotAlnum) < 0
}

// isValue reports whether s can be a value in a record.
func isValue(s string) bool {
	return strings.IndexFunc(s, txtrecord.IsNotVisible) < 0 && !strings.Contains(s, "=")
}

// shorten bounds a value from outside for an error.
func shorten(s string) string { return clip.Text(s, 100) }
