package dns

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// config is how the servers are asked.
type config struct {
	servers     []string // "address:port", at least one
	timeout     time.Duration
	attempts    int
	rotate, tcp bool
	trustAD     bool
}

// Defaults and bounds of resolv.conf(5).
const (
	defaultTimeout  = 5 * time.Second
	defaultAttempts = 2
	maxTimeout      = 30 * time.Second
	maxAttempts     = 5
	maxServers      = 3
	maxResolvConf   = 64 << 10 // octets; our own bound
)

// recheck is how long a resolv.conf is used before a look whether it has changed.
const recheck = 5 * time.Second

// errStandard means that the name servers of the system aren't known to this package.
var errStandard = errors.New("dns: the name servers of the system are not known")

// config returns the settings to use now, or errStandard.
func (r *Resolver) config() (config, error) {
	c := config{timeout: defaultTimeout, attempts: defaultAttempts}
	if len(r.Servers) > 0 {
		for _, s := range r.Servers {
			c.servers = append(c.servers, withPort(s))
		}
	} else {
		file := r.resolvConf()
		if file.err != nil {
			return c, errStandard
		}
		c = file.config
	}
	if r.Timeout > 0 {
		c.timeout = r.Timeout
	}
	if r.Attempts > 0 {
		c.attempts = r.Attempts
	}
	c.rotate, c.tcp, c.trustAD = c.rotate || r.Rotate, c.tcp || r.TCP, c.trustAD || r.TrustAD
	return c, nil
}

// Check returns an error for the first mistake in the fields, for a program that starts. It asks no server.
func (r *Resolver) Check() error {
	for i, s := range r.Servers {
		host, port, err := net.SplitHostPort(withPort(s))
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
			return fmt.Errorf("dns: Servers[%d] is %q: set it to an address with or without a port,"+
				" such as 192.0.2.53 or [2001:db8::53]:53", i, s)
		}
	}
	if r.ResolvConf != "" && len(r.Servers) == 0 {
		if err := readResolvConf(r.ResolvConf, nil).err; err != nil {
			return fmt.Errorf("dns: ResolvConf: %w: set it to a file like /etc/resolv.conf", err)
		}
	}
	return nil
}

// withPort returns "address:port" for a server with or without a port.
func withPort(server string) string {
	if _, err := netip.ParseAddr(server); err == nil || !strings.Contains(server, ":") {
		return net.JoinHostPort(server, "53")
	}
	return server
}

// resolvConf is a resolv.conf as it was read. It doesn't change.
type resolvConf struct {
	config
	err     error // the file can't be read
	info    os.FileInfo
	checked time.Time
}

// resolvConf returns the file as it is, or was up to recheck ago. A file that can't be read any more stays as it was.
func (r *Resolver) resolvConf() *resolvConf {
	old := r.system.Load()
	if old != nil && time.Since(old.checked) < recheck {
		return old
	}
	file := readResolvConf(cmp.Or(r.ResolvConf, "/etc/resolv.conf"), old)
	if old != nil && old.err == nil && file.err != nil {
		kept := *old
		file = &kept
	}
	file.checked = time.Now()
	r.system.Store(file)
	return file
}

// readResolvConf reads the file, unless it is still the old one.
func readResolvConf(path string, old *resolvConf) *resolvConf {
	file, err := os.Open(path)
	if err != nil {
		return &resolvConf{err: err}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return &resolvConf{err: err}
	}
	if old != nil && old.info != nil && os.SameFile(old.info, info) &&
		old.info.ModTime().Equal(info.ModTime()) && old.info.Size() == info.Size() {
		same := *old
		return &same
	}
	text, err := io.ReadAll(io.LimitReader(file, maxResolvConf))
	return &resolvConf{config: parseResolvConf(string(text)), err: err, info: info}
}

// parseResolvConf reads the settings that this package knows. What is not valid is ignored, as resolv.conf(5) has it.
func parseResolvConf(text string) config {
	c := config{timeout: defaultTimeout, attempts: defaultAttempts}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || line[0] == '#' || line[0] == ';' {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(fields[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, net.JoinHostPort(fields[1], "53"))
			}
		case "options":
			for _, option := range fields[1:] {
				c.set(option)
			}
		}
	}
	if len(c.servers) == 0 {
		// resolv.conf(5): without an entry, the name server of this machine.
		c.servers = []string{"127.0.0.1:53", "[::1]:53"}
	}
	return c
}

func (c *config) set(option string) {
	name, value, _ := strings.Cut(option, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "rotate":
		c.rotate = true
	case name == "use-vc":
		c.tcp = true
	case name == "trust-ad":
		c.trustAD = true
	case name == "timeout" && err == nil:
		c.timeout = time.Duration(min(max(n, 1), int(maxTimeout/time.Second))) * time.Second
	case name == "attempts" && err == nil:
		c.attempts = min(max(n, 1), maxAttempts)
	}
}
