package smtp

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// DeliverBy is the BY parameter of MAIL (RFC 2852 §4): a time, and what is to happen if a recipient has no delivery by
// then. The zero value is no BY.
type DeliverBy struct {
	// Time is when the message is to be delivered. On the wire it is a number of seconds from now. If zero, there is no
	// BY, and the other fields have no meaning.
	Time time.Time

	// Return is the mode "R": the message is returned to its sender at Time. If false, the mode is "N": attempts go on,
	// and the sender gets a delay notice at Time, which may be in the past.
	Return bool

	// Trace asks each relay for a report that it has relayed the message.
	Trace bool
}

// Bounds of the values of BY, MT-PRIORITY and HOLDFOR.
const (
	maxBy       = 999_999_999 // seconds, before and after now (RFC 2852 §4: 9 digits)
	maxPriority = 9           // RFC 6710 §3
	maxHold     = 999_999_999 // seconds (RFC 4865 §3: 9 digits)
)

// parseBy parses "120;R" or "-10;NT".
func parseBy(value string, now time.Time) (DeliverBy, error) {
	seconds, mode, _ := strings.Cut(value, ";")
	past := strings.HasPrefix(seconds, "-")
	if past || strings.HasPrefix(seconds, "+") {
		seconds = seconds[1:]
	}
	n, ok := parseSeconds(seconds)
	if past {
		n = -n
	}
	mode = strings.ToUpper(mode)
	by := DeliverBy{Return: strings.HasPrefix(mode, "R"), Trace: strings.HasSuffix(mode, "T")}
	switch {
	case !ok:
		return DeliverBy{}, syntax("BY %.64q: the time isn't a number of 1 to 9 digits", value)
	case mode != "R" && mode != "N" && mode != "RT" && mode != "NT":
		return DeliverBy{}, syntax("BY %.64q: the mode isn't R, N, RT or NT", value)
	case by.Return && n <= 0: // RFC 2852 §4
		return DeliverBy{}, syntax("BY %.64q: mode R needs a time above 0", value)
	}
	by.Time = now.Add(time.Duration(n) * time.Second).Round(0).UTC()
	return by, nil
}

// parseSeconds parses a number of 1 to 9 digits.
func parseSeconds(s string) (n int64, ok bool) {
	if s == "" || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// Seconds returns the seconds from now until Time, rounded up, as BY has them: -999999999 to 999999999.
func (d DeliverBy) Seconds(now time.Time) int64 {
	left := math.Ceil(d.Time.Sub(now).Seconds())
	return int64(min(max(left, -maxBy), maxBy))
}

// append appends the parameter BY as it is at now.
func (d DeliverBy) append(b []byte, now time.Time) []byte {
	left := d.Seconds(now)
	if d.Return {
		left = max(left, 1) // RFC 2852 §4: not 0; the caller has found that there was time left
	}
	b = strconv.AppendInt(append(b, " BY="...), left, 10)
	if d.Return {
		b = append(b, ";R"...)
	} else {
		b = append(b, ";N"...)
	}
	if d.Trace {
		b = append(b, 'T')
	}
	return b
}

// parsePriority parses the value of MT-PRIORITY.
func parsePriority(value string) (int8, error) {
	digit := strings.TrimPrefix(value, "-")
	if len(digit) != 1 || digit[0] < '0' || digit[0] > '9' || value == "-0" { // RFC 6710 §7
		return 0, syntax("MT-PRIORITY %.64q: not -9 to 9", value)
	}
	n := int8(digit[0] - '0')
	if value != digit {
		n = -n
	}
	return n, nil
}

// parseHold parses the value of HOLDFOR or HOLDUNTIL. It returns the time until which the message is held.
func parseHold(keyword, value string, now time.Time) (time.Time, error) {
	if keyword == "HOLDFOR" {
		n, ok := parseSeconds(value)
		if !ok || n == 0 {
			return time.Time{}, syntax("HOLDFOR %.64q: not a number of 1 to 9 digits, above 0", value)
		}
		return now.Add(time.Duration(n) * time.Second).Round(0).UTC(), nil
	}
	value = strings.ToUpper(value) // RFC 3339 §5.6: "t" and "z", too
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || t.IsZero() || !isStrict(value) {
		return time.Time{}, syntax("HOLDUNTIL %.64q: not a date-time of RFC 3339", value)
	}
	return t.UTC(), nil
}

// isStrict reports whether a date-time that time.Parse takes is one of RFC 3339 §5.6. time.Parse also takes an hour of
// one digit, a comma before the fraction, and an offset of 24 hours or with 60 minutes.
func isStrict(value string) bool {
	if value[len("2006-01-02T15")] != ':' || strings.Contains(value, ",") {
		return false
	}
	offset := value[len(value)-len("07:00"):]
	return strings.HasSuffix(value, "Z") || offset[:2] <= "23" && offset[3:] <= "59"
}
