package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"testing"

	"github.com/postrider/postrider/mx/dns"
)

// FuzzVerify compares two records from the DNS with a chain. What matches is usable and, for DANE-EE, the digest of the
// host's certificate; no record is a trust anchor without a certificate above it, or one of its own.
func FuzzVerify(f *testing.F) {
	root := issue(f, nil, ecKey(f), isCA)
	leaf := issue(f, root, ecKey(f), isHost)
	for usage := range uint8(4) {
		for _, cert := range []*issuer{root, leaf} {
			for matching := range uint8(3) {
				a, b := tlsa(usage, 0, matching, cert), tlsa(usage, 1, matching, cert)
				f.Add(a.Usage, a.Selector, a.MatchingType, a.Data, b.Usage, b.Selector, b.MatchingType, b.Data)
			}
		}
	}
	f.Add(uint8(2), uint8(1), uint8(0), []byte("0\x00"), uint8(3), uint8(0), uint8(0), []byte{})
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte, usage2, selector2, matching2 uint8, data2 []byte) {
		records := []dns.TLSA{{Usage: usage, Selector: selector, MatchingType: matching, Data: data},
			{Usage: usage2, Selector: selector2, MatchingType: matching2, Data: data2}}
		by, err := Verify(records, []string{"mx.example.net"}, session(leaf, root))
		if err != nil {
			return
		}
		text(by)
		of := root
		if by.Usage == usageEE {
			of = leaf
		}
		whole := of.Raw
		if by.Selector == selectKey {
			whole = of.RawSubjectPublicKeyInfo
		}
		sum256, sum512 := sha256.Sum256(whole), sha512.Sum512(whole)
		if !Usable(by) || !bytes.Equal(by.Data, [][]byte{whole, sum256[:], sum512[:]}[by.MatchingType]) {
			t.Errorf("got %+v, which matches nothing", by)
		}
	})
}
