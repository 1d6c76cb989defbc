package ratelimit

import (
	"crypto/sha256"
	"time"

	"github.com/postrider/postrider/server/internal/recent"
)

// key is a hash, so that all entries have one size.
type key [16]byte

func hash(s string) key {
	h := sha256.Sum256([]byte(s))
	return key(h[:16])
}

// level is when all that was counted will have decayed, in nanoseconds since 1970: for messages and for recipients.
// What was counted is full if that is a period away.
type level struct{ messages, recipients int64 }

// usage has the levels of the keys. The Limiter's mu is held.
type usage = recent.Map[key, level]

// wait returns for how long one more recipient, and messages, would be too many, and of what.
func (k *limited) wait(now time.Time, messages int) (what string, wait time.Duration) {
	v, _ := k.in.Get(k.key)
	over := func(until int64, cost time.Duration) time.Duration {
		return time.Duration(until-now.UnixNano()) + cost - k.rate.period() // not above 0 if until is past
	}
	if k.rate.Messages > 0 && messages > 0 {
		if d := over(v.messages, k.rate.message()); d > 0 {
			return "messages", d
		}
	}
	if k.rate.Recipients > 0 {
		if d := over(v.recipients, k.rate.recipient()); d > 0 {
			return "recipients", d
		}
	}
	return "", 0
}

// add counts messages and recipients, which are negative to give them back.
func (k *limited) add(now time.Time, messages, recipients, maxKeys int) {
	at := now.UnixNano()
	v, _ := k.in.Get(k.key)
	v.messages = max(v.messages, at) + int64(messages)*int64(k.rate.message())
	v.recipients = max(v.recipients, at) + int64(recipients)*int64(k.rate.recipient())
	left := func(v level) bool { return max(v.messages, v.recipients) > at } // anything to decay
	if !left(v) {
		k.in.Delete(k.key)
		return
	}
	k.in.Put(k.key, v, maxKeys, left)
}
