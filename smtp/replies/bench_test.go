package replies

import (
	"testing"

	"github.com/postrider/postrider/smtp"
)

func BenchmarkClassify(b *testing.B) {
	benchmarks := []struct {
		name  string
		reply *smtp.Reply
	}{
		{"taken", smtp.NewReply(250, "2.0.0", "Ok: queued as 4Z9xQ62kLmz1")},
		{"refused", smtp.NewReply(550, "5.1.1", "<ann@example.net>: there is no such user at this host, look at the address again")},
		{"long", smtp.NewReply(421, "4.7.28", "[192.0.2.7] We have seen an unusual rate of mail that nobody asked for from "+
			"your address block.\nTo protect those who have a mailbox here, mail from it is limited for some time.\n"+
			"Please read https://postmaster.example.com/rates?c=12 for what to do, and try again in an hour. - mx12")},
		{"unknown", smtp.NewReply(554, "", "nothing that a rule has words for")},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Classify(bb.reply, smtp.StageRcpt, "mx1.example.net")
			}
		})
	}
}
