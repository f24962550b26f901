// Judges certificates as Kubernetes does, with crypto/x509. Reads cases from the standard input, one
// a line: leaf, intermediates (`-` for none), anchors (PEM files), `client` or `server`, the name (`-`
// for none) and the unix time, separated by tabs. Prints `ok` or the error, one a line.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func pool(file string) *x509.CertPool {
	if file == "-" {
		return x509.NewCertPool()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	found := x509.NewCertPool()
	found.AppendCertsFromPEM(text)
	return found
}

func judge(fields []string) error {
	text, err := os.ReadFile(fields[0])
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(fields[5], 10, 64)
	if err != nil {
		return err
	}
	usage := x509.ExtKeyUsageServerAuth
	if fields[3] == "client" {
		usage = x509.ExtKeyUsageClientAuth
	}
	options := x509.VerifyOptions{
		Intermediates: pool(fields[1]),
		Roots:         pool(fields[2]),
		CurrentTime:   time.Unix(seconds, 0),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	if fields[4] != "-" {
		options.DNSName = fields[4]
	}
	_, err = leaf.Verify(options)
	return err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := judge(strings.Split(lines.Text(), "\t")); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok")
		}
	}
}
