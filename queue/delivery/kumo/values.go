package kumo

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/queue/delivery"
)

// number reads "10", "1_000" or "1,000". It must be positive.
func number(s string) (int, error) {
	s = strings.NewReplacer("_", "", ",", "").Replace(strings.TrimSpace(s))
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%.40q is no positive number", s)
	}
	return int(n), nil
}

// limit reads a number, or a string with one: "local:10".
func limit(v any) (int, error) {
	switch v := v.(type) {
	case int64:
		return number(strconv.FormatInt(v, 10))
	case string:
		return number(strings.TrimPrefix(v, "local:"))
	}
	return 0, fmt.Errorf("%v is no number", v)
}

// rate reads "100/s", "1,000/2h" or "local:5/minute,max_burst=3".
func rate(v any) (delivery.Rate, error) {
	s, ok := v.(string)
	if !ok {
		return delivery.Rate{}, fmt.Errorf("%v is no rate: want \"100/min\"", v)
	}
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "local:"), ",max_burst=")
	count, per, ok := strings.Cut(s, "/")
	if !ok {
		return delivery.Rate{}, fmt.Errorf("%.40q is no rate: want \"100/min\"", s)
	}
	n, err := number(count)
	if err != nil {
		return delivery.Rate{}, err
	}
	if per = strings.TrimSpace(per); per != "" && !isDigit(per[0]) {
		per = "1" + per
	}
	d, err := duration(per)
	return delivery.Rate{Messages: n, Per: d}, err
}

// units are those of the humantime format.
var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "sec": time.Second, "second": time.Second, "min": time.Minute, "minute": time.Minute,
	"hr": time.Hour, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour,
}

// duration reads "90m", "2 hours" or "1h 30min".
func duration(s string) (sum time.Duration, err error) {
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, errors.New("a time is missing")
	}
	for rest != "" {
		i := 0
		for i < len(rest) && isDigit(rest[i]) {
			i++
		}
		n, err := number(rest[:i])
		if err != nil {
			return 0, fmt.Errorf("%.40q is no time: want \"2 hours\"", s)
		}
		rest = strings.TrimLeft(rest[i:], " ")
		for i = 0; i < len(rest) && rest[i] >= 'a' && rest[i] <= 'z'; i++ {
		}
		unit, ok := units[rest[:i]]
		if !ok && i > 1 {
			unit, ok = units[strings.TrimSuffix(rest[:i], "s")]
		}
		if !ok || time.Duration(n) > (math.MaxInt64-sum)/unit {
			return 0, fmt.Errorf("%.40q is no time: want \"2 hours\"", s)
		}
		sum += time.Duration(n) * unit
		rest = strings.TrimLeft(rest[i:], " ")
	}
	return sum, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
