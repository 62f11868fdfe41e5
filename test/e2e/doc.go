// Package e2e proves the whole program on real hosts: rmqctl deploys the layouts of examples/ over SSH to nodes with systemd and
// a firewall, real clients use the clusters while they are rolled and while power is cut, and destroy leaves the hosts as they were.
//
// The tests run as root on Linux (see test/hosts/bed). Elsewhere they skip and say why; with CI=true a skip is a failure.
package e2e
