package bounce_test

import (
	"fmt"
	"log"

	"github.com/postrider/postrider/bounce"
)

// A signed reverse-path, and what it says.
func ExampleVERP() {
	verp := &bounce.VERP{Domain: "bounces.example.com", Keys: [][]byte{[]byte("32 random octets from a secret...")}}
	address, err := verp.Address(bounce.Sent{ID: "1k7", Tenant: "acme", Recipient: "ann@example.net"})
	if err != nil {
		log.Fatal(err)
	}
	sent, err := verp.Read(address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sent.ID, sent.Tenant, sent.Recipient)
	_, err = verp.Read("b+1k7-ann-example.net-aaaaaaaaaaaaaaaa@bounces.example.com")
	fmt.Println(err)
	// Output:
	// 1k7 acme ann@example.net
	// bounce: the address isn't signed by one of the keys
}
