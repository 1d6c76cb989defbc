package mx

import (
	"net/netip"
	"testing"
)

func TestLeadsInside(t *testing.T) {
	tests := []struct {
		ip   string
		want bool
	}{
		{"192.0.2.1", false}, {"8.8.8.8", false}, {"100.63.255.255", false}, {"100.128.0.1", false},
		{"172.15.0.1", false}, {"172.32.0.1", false}, {"2001:db8::1", false}, {"2a00:1450::1", false},
		{"192.0.1.0", false}, {"198.17.255.255", false}, {"198.20.0.0", false}, {"2001:200::1", false}, {"2000:ffff::1", false},
		{"192.0.0.8", true}, {"192.0.0.255", true}, {"198.18.0.1", true}, {"198.19.255.255", true},
		{"2001::1", true}, {"2001:0:c000:201::f5ff:fffe", true}, {"2001:2::1", true}, {"2001:1ff::1", true},
		{"127.0.0.1", true}, {"127.255.0.1", true}, {"0.0.0.0", true}, {"0.1.2.3", true}, {"10.0.0.1", true},
		{"172.16.0.1", true}, {"192.168.1.1", true}, {"169.254.169.254", true}, {"224.0.0.1", true},
		{"255.255.255.255", true}, {"240.0.0.1", true}, {"100.64.0.1", true}, {"100.127.255.255", true},
		{"::", true}, {"::1", true}, {"fe80::1", true}, {"fe80::1%eth0", true}, {"fc00::1", true}, {"fd12::1", true},
		{"ff02::1", true}, {"fec0::1", true}, {"::ffff:127.0.0.1", true}, {"::ffff:192.168.0.1", true},
		{"::ffff:192.0.2.1", false}, {"::ffff:100.64.0.1", true}, {"::127.0.0.1", true}, {"::192.0.2.1", true},
		{"64:ff9b::10.0.0.1", true}, {"64:ff9b::192.0.2.1", false}, {"64:ff9b:1::192.0.2.1", true},
		{"::ffff:0:10.0.0.1", true}, {"::ffff:0:192.0.2.1", true}, {"64:ff9b:0:0:0:1:c000:201", true}, {"100::1", false}, {"2002:7f00:1::1", true}, {"2002:c000:201::1", false},
	}
	for _, test := range tests {
		if got := leadsInside(netip.MustParseAddr(test.ip)); got != test.want {
			t.Errorf("%s: got %t, want %t", test.ip, got, test.want)
		}
	}
}
