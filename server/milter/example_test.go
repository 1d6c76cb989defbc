package milter_test

import (
	"log"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/milter"
)

// How do I filter mail by rspamd or ClamAV? By the milter protocol. Here, OpenDKIM comes after rspamd. Without rspamd,
// mail is deferred; without OpenDKIM, it is accepted.
func ExampleFilter_Check() {
	srv := &server.Server{
		Hostname: "mx1.example.com",
		Checks: []server.Check{
			(&milter.Filter{Name: "rspamd", Addr: "127.0.0.1:11332"}).Check(),
			(&milter.Filter{Name: "opendkim", Addr: "/run/opendkim/opendkim.sock", Failure: milter.Accept}).Check(),
		},
	}
	if err := srv.Check(); err != nil {
		log.Print(err) // here, that it has no Handler yet
	}
}
