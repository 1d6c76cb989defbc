package compose

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// methods are those of RFC 5546 §1.4.
const methods = " REQUEST REPLY CANCEL PUBLISH ADD REFRESH COUNTER DECLINECOUNTER "

func (c *Calendar) check() error {
	if c.Method == "" || strings.Contains(c.Method, " ") || !strings.Contains(methods, " "+c.Method+" ") {
		return fmt.Errorf("Method %.100q: want one of%s(RFC 5546)", c.Method, methods)
	}
	if !utf8.ValidString(c.Data) {
		return errors.New("Data isn't UTF-8")
	}
	lines := strings.Lines(c.Data)
	first, method := "", ""
	for line := range lines {
		line = strings.TrimRight(line, "\r\n")
		if first == "" {
			first = line
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "METHOD") {
			method = strings.TrimSpace(value)
			break
		}
		if strings.HasPrefix(strings.ToUpper(line), "BEGIN:V") && line != first {
			break // METHOD is a property of the calendar, before its components (RFC 5545 §3.6)
		}
	}
	if !strings.EqualFold(first, "BEGIN:VCALENDAR") {
		return fmt.Errorf("Data begins with %.40q: want BEGIN:VCALENDAR", first)
	}
	if !strings.EqualFold(method, c.Method) { // RFC 6047 §2.4: the two must be equal
		return fmt.Errorf("Method is %s, and the METHOD in Data is %.40q: make them equal", c.Method, method)
	}
	return nil
}

func (c *Calendar) part() *part {
	p := textPart("text/calendar", c.Data)
	p.param += "; method=" + c.Method
	return p
}
