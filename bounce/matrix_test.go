package bounce

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// bigOriginal is a message of 50 MB that is in no memory. It counts the octets that were read of it.
type bigOriginal struct{ read int64 }

const bigSize = 50 << 20

func (*bigOriginal) Size() int64 { return bigSize }

func (b *bigOriginal) ReadAt(p []byte, off int64) (int, error) {
	if off >= bigSize {
		return 0, io.EOF
	}
	if left := bigSize - off; int64(len(p)) > left {
		p = p[:left]
	}
	b.read += int64(len(p))
	n := 0
	if off < int64(len(original)) {
		n = copy(p, original[off:])
	}
	for i := n; i < len(p); i++ {
		p[i] = "x\r\n"[i%3]
	}
	return len(p), nil
}

// matrixCases change a report of failures.
var matrixCases = map[string]func(*Report){
	"plain": func(*Report) {},
	"utf8": func(r *Report) {
		r.Envelope.UTF8 = true
		eachRecipient(r, func(rcpt *Recipient) { rcpt.Address = "bøb" + rcpt.Address })
	},
	"utf8-in-ascii": func(r *Report) {
		eachRecipient(r, func(rcpt *Recipient) { rcpt.Address = "bøb" + rcpt.Address })
	},
	"hostile": func(r *Report) {
		i := 0
		eachRecipient(r, func(rcpt *Recipient) {
			rcpt.Result.Reply.Text = strings.ReplaceAll(evil[i%len(evil)], "%s", "boundary")
			i++
		})
	},
	"8-bit-header": func(r *Report) { r.Original = smtp.Text("X-Note: Merçi \xff\r\n" + original) },
	"big":          func(r *Report) { r.Original, r.Envelope.Ret = new(bigOriginal), smtp.RetFull },
	"no-fields":    func(r *Report) { r.Original = smtp.Text("\r\nbody\r\n") },
	"empty":        func(r *Report) { r.Original = smtp.Text("") },
	"whole":        func(r *Report) { r.Envelope.Ret = smtp.RetFull },
	"delayed": func(r *Report) {
		eachRecipient(r, func(rcpt *Recipient) {
			rcpt.Action, rcpt.WillRetryUntil = Delayed, expiry
			rcpt.Result = deferred(451, smtp.EnhancedCode{4, 3, 0}, "later")
		})
	},
	"relayed": func(r *Report) {
		eachRecipient(r, func(rcpt *Recipient) {
			rcpt.Notify, rcpt.Action, rcpt.Result = smtp.NotifySuccess, Relayed, accepted()
		})
	},
}

func eachRecipient(r *Report, change func(*Recipient)) {
	for i := range r.Recipients {
		reply := *r.Recipients[i].Result.Reply
		r.Recipients[i].Result.Reply = &reply
		change(&r.Recipients[i])
	}
}

// matrix returns the reports that all readers read, by name: each case for 1 and for 100 recipients, in each language,
// and the golden files.
func matrix() map[string]*Report {
	all := make(map[string]*Report)
	for name := range goldens {
		all["golden-"+name] = golden(name)
	}
	for name, change := range matrixCases {
		for language, texts := range languages {
			for _, n := range []int{1, 100} {
				r := report()
				for i := range n {
					r.Recipients = append(r.Recipients, unknownUser(fmt.Sprintf("user%d@d%d.example", i, i%7)))
				}
				r.Texts = texts()
				change(r)
				all[fmt.Sprintf("%s-%s-%d", name, language, n)] = r
			}
		}
	}
	return all
}

// TestBigOriginal: of a big message, no more than its header is read, even if its sender wants all of it back.
func TestBigOriginal(t *testing.T) {
	r := report(unknownUser("bob@example.net"))
	big := new(bigOriginal)
	r.Original, r.Envelope.Ret = big, smtp.RetFull
	if got := len(readReport(t, r)); got > 2*maxHeader || big.read > 2*maxHeader {
		t.Errorf("got a report of %d octets after reading %d, want at most %d", got, big.read, 2*maxHeader)
	}
}
