package client

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/smtp"
)

// askTimes adds to an offer what the sender asked for: a time for the delivery, a priority, and a time to hold the
// message until. A reply is the reason why the host isn't sent the message.
func (c *Conn) askTimes(env *smtp.Envelope, o *smtp.Offer) *smtp.Reply {
	now := time.Now()
	left := env.By.Seconds(now)
	switch by := env.By; {
	case by.Time.IsZero():
	case by.Return && left <= 0: // RFC 2852 §4.1.3
		return smtp.NewReply(554, "5.4.7", "the time is over in which the sender wanted it delivered")
	case c.ext.deliverBy && by.Return && left < c.ext.leastBy: // RFC 2852 §4.1.4.1
		text := fmt.Sprintf("the sender wants it delivered in %d seconds, and the host needs %d", left, c.ext.leastBy)
		return smtp.NewReply(554, "5.4.7", text)
	case c.ext.deliverBy:
		o.By = true
	case by.Return && !c.LMTP: // RFC 2852 §4.1.4.1; over LMTP, this is the delivery
		return smtp.NewReply(554, "5.3.3", "the sender wants it delivered by a time, and the host has no DELIVERBY")
	}
	o.Priority = c.ext.priority
	switch hold := env.HoldUntil.Sub(now); {
	case env.HoldUntil.IsZero(), hold <= 0:
	case !c.ext.futureRelease:
		return smtp.NewReply(554, "5.3.3", "the sender wants it held, and the host has no FUTURERELEASE")
	case c.ext.mostHold > 0 && hold > time.Duration(c.ext.mostHold)*time.Second: // RFC 4865 §4.1
		text := fmt.Sprintf("the sender wants it held for %v, and the host holds it for at most %d seconds",
			hold.Round(time.Second), c.ext.mostHold)
		return smtp.NewReply(554, "5.3.3", text)
	default:
		o.Hold = true
	}
	return nil
}
