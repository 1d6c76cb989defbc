package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// RootCAs returns a pool with the network's own authority, which signs the certificates of all its hosts.
func (n *Network) RootCAs() *x509.CertPool {
	n.t.Helper()
	n.mustBeHere()
	root, err := n.ca.root()
	if err != nil {
		n.t.Fatalf("smtptest: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool
}

// Certificate returns the certificate of a host. A server behind [Network.Listen] can present it. It is valid for name
// only, from yesterday and for ten years, and is signed by the authority in [Network.RootCAs].
func (n *Network) Certificate(name string) tls.Certificate {
	n.t.Helper()
	n.mustBeHere()
	key, err := hostKey(name)
	if err == nil {
		var cert *tls.Certificate
		if cert, err = n.ca.certificate(leaf{name: key}); err == nil {
			return *cert
		}
	}
	n.t.Fatalf("smtptest: certificate of %q: %v", name, err)
	return tls.Certificate{}
}

// authority is a certification authority. It makes keys and certificates on demand: a test without TLS costs nothing,
// and the validity begins at the time of the bubble.
type authority struct {
	mu     sync.Mutex
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	leaves map[leaf]*tls.Certificate
	serial int64
}

// leaf identifies a certificate.
type leaf struct {
	name    string // a host's key
	expired bool
}

func (a *authority) root() (*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.found(); err != nil {
		return nil, err
	}
	return a.cert, nil
}

// certificate returns the certificate for l, always the same one.
func (a *authority) certificate(l leaf) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cert := a.leaves[l]; cert != nil {
		return cert, nil
	}
	if err := a.found(); err != nil {
		return nil, err
	}
	template := a.template(l.name)
	if l.expired {
		template.NotBefore, template.NotAfter = template.NotBefore.AddDate(-1, 0, 0), template.NotBefore
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if ip := net.ParseIP(l.name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else if !isPath(l.name) {
		template.DNSNames = []string{l.name}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := a.sign(template, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	made := &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	a.leaves[l] = made
	return made, nil
}

// found makes the authority's own key and certificate, once. a.mu is held.
func (a *authority) found() error {
	if a.cert != nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := a.template("smtptest authority")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	cert, err := a.sign(template, template, key, key)
	if err != nil {
		return err
	}
	a.cert, a.key, a.leaves = cert, key, make(map[leaf]*tls.Certificate)
	return nil
}

// template returns a certificate that is valid from yesterday and for ten years: virtual time passes quickly.
func (a *authority) template(name string) *x509.Certificate {
	a.serial++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
	}
}

func (a *authority) sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("create certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
