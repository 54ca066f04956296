package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxQueries    = 64 // at once; more are dropped, and asked again
	lookupTimeout = 10 * time.Second
	maxQuery      = 4096 // bytes
)

// ServeDNS answers queries until conn is closed, which it does as well.
func (c *Capture) ServeDNS(conn net.PacketConn) {
	if !c.own(conn) {
		return
	}
	defer c.drop(conn)
	free := make(chan struct{}, maxQueries)
	for {
		buf := make([]byte, maxQuery)
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		select {
		case free <- struct{}{}:
			go func() {
				defer func() { <-free }()
				if answer, ok := c.answer(buf[:n]); ok {
					_, _ = conn.WriteTo(answer, from)
				}
			}()
		default:
		}
	}
}

// serveStream answers queries that come over TCP, each after its length.
func (c *Capture) serveStream(conn net.Conn) {
	for {
		conn.SetDeadline(time.Now().Add(2 * lookupTimeout))
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, min(binary.BigEndian.Uint16(size[:]), maxQuery))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer, ok := c.answer(query)
		if !ok {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer returns the answer to a query. Nothing of the query leaves but the name of a
// host, in a form of our own.
func (c *Capture) answer(query []byte) ([]byte, bool) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil || header.Response || header.OpCode != 0 {
		return nil, false
	}
	question, err := p.Question()
	if err != nil {
		return nil, false
	}
	addr, code := c.resolve(question)
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: header.ID, Response: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	err = errors.Join(b.StartQuestions(), b.Question(question))
	if addr.IsValid() {
		resource := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 1}
		err = errors.Join(err, b.StartAnswers(), b.AResource(resource, dnsmessage.AResource{A: addr.As4()}))
	}
	if err != nil {
		return nil, false
	}
	answer, err := b.Finish()
	return answer, err == nil
}

// resolve returns the address that stands for the name in a question, if there is one.
// What says how to reach it otherwise is left out: every connection is to be to that
// address.
func (c *Capture) resolve(q dnsmessage.Question) (addr netip.Addr, code dnsmessage.RCode) {
	const svcb, https = 64, 65 // RFC 9460
	name, ok := hostName(q.Name.String())
	switch {
	case q.Class != dnsmessage.ClassINET:
		return addr, dnsmessage.RCodeRefused
	case q.Type == dnsmessage.TypeAAAA || q.Type == svcb || q.Type == https:
		return addr, dnsmessage.RCodeSuccess
	case q.Type != dnsmessage.TypeA:
		return addr, dnsmessage.RCodeRefused
	case !ok:
		return addr, dnsmessage.RCodeNameError
	}
	ctx, cancel := context.WithTimeout(c.ctx, lookupTimeout)
	defer cancel()
	found, err := c.cfg.Resolver.LookupNetIP(ctx, "ip", name+".") // not below the domains of this host
	var notFound *net.DNSError
	switch {
	case errors.As(err, &notFound) && notFound.IsNotFound:
		return addr, dnsmessage.RCodeNameError
	case err != nil:
		return addr, dnsmessage.RCodeServerFailure
	}
	for _, real := range found {
		if err = c.check(real); err == nil {
			return c.names.address(name), dnsmessage.RCodeSuccess
		}
	}
	c.refused(name, err)
	return addr, dnsmessage.RCodeNameError
}
