package config

// This file fills what was left empty and says which settings do not go together.

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"rmqctl/internal/conf"
)

// Finish derives what is unset from what is set, forces what RocketMQ forces, and reports what cannot work (fatal)
// or will surprise.
func (c *Config) Finish() []conf.Finding {
	var f findings
	c.checkIdentity(&f)
	c.derive()
	c.checkPorts(&f)
	c.checkPaths(&f)
	c.checkSizes(&f)
	c.checkRaft(&f)
	return f
}

type findings []conf.Finding

func (f *findings) warn(key, format string, args ...any) {
	*f = append(*f, conf.Finding{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) fatal(key, format string, args ...any) {
	*f = append(*f, conf.Finding{Key: key, Text: fmt.Sprintf(format, args...), Fatal: true})
}

func (c *Config) checkIdentity(f *findings) {
	if c.BrokerName == "" {
		f.fatal("brokerName", "is empty")
	}
	if c.EnableDLegerCommitLog {
		if len(c.NameServers()) == 0 {
			f.warn("namesrvAddr", "is empty: no client will find this broker")
		}
		return
	}
	if c.IsMaster() && c.BrokerID != 0 {
		f.warn("brokerId", "a broker with the role %s has the id 0; %d is not used", c.BrokerRole, c.BrokerID)
		c.BrokerID = 0
	}
	if !c.IsMaster() && c.BrokerID == 0 {
		f.fatal("brokerId", "Slave's brokerId must be > 0")
	}
	switch {
	case len(c.NameServers()) > 0:
	case c.IsMaster():
		f.warn("namesrvAddr", "is empty: no client will find this broker")
	case c.HAMasterAddress == "":
		f.warn("namesrvAddr", "is empty, and so is haMasterAddress: the slave never finds its master, and a SYNC_MASTER answers SLAVE_NOT_AVAILABLE")
	default:
		f.warn("namesrvAddr", "is empty: no client will find this slave, and it copies neither topics nor offsets")
	}
}

func (c *Config) derive() {
	if c.HAListenPort == 0 && c.ListenPort != 0 {
		c.HAListenPort = c.ListenPort + 1
	}
	c.BrokerIP2 = cmp.Or(c.BrokerIP2, c.BrokerIP1)
	c.SendMessageThreadPoolNums = cmp.Or(c.SendMessageThreadPoolNums, defaultSendThreads())
	c.PullMessageThreadPoolNums = cmp.Or(c.PullMessageThreadPoolNums, defaultPullThreads())
	below := func(field *string, name string) {
		if *field == "" && c.StorePathRootDir != "" {
			*field = filepath.Join(c.StorePathRootDir, name)
		}
	}
	below(&c.StorePathCommitLog, "commitlog")
	below(&c.StorePathConsumeQueue, "consumequeue")
	below(&c.StorePathIndex, "index")
	below(&c.StoreCheckpoint, "checkpoint")
	below(&c.AbortFile, "abort")
}

func (c *Config) checkPorts(f *findings) {
	if c.ListenPort == 0 {
		return
	}
	if c.ListenPort < 3 {
		f.fatal("listenPort", "%d leaves no port two below it", c.ListenPort)
	}
	switch c.HAListenPort {
	case c.ListenPort:
		f.fatal("haListenPort", "%d is listenPort as well", c.HAListenPort)
	case c.VIPPort():
		f.fatal("haListenPort", "%d is opened for the VIP channel, two below listenPort %d", c.HAListenPort, c.ListenPort)
	case c.ListenPort + 1:
	default:
		f.warn("haListenPort", "%d is used; RocketMQ 4.9 would use %d, listenPort + 1, whatever is set", c.HAListenPort, c.ListenPort+1)
	}
}

func (c *Config) checkPaths(f *findings) {
	if c.StorePathRootDir == "" {
		f.fatal("storePathRootDir", "is empty")
		return
	}
	if strings.Contains(c.StorePathCommitLog, ",") {
		f.fatal("storePathCommitLog", "a commit log in several directories is not served")
	}
	places := []struct{ key, path string }{
		{"storePathCommitLog", c.StorePathCommitLog},
		{"storePathConsumeQueue", c.StorePathConsumeQueue},
		{"storePathIndex", c.StorePathIndex},
		{"storeCheckpoint", c.StoreCheckpoint},
		{"abortFile", c.AbortFile},
		{"storePathRootDir", c.ConfigDir()},
	}
	for i, a := range places {
		for _, b := range places[:i] {
			if inside(a.path, b.path) || inside(b.path, a.path) {
				f.fatal(a.key, "%s collides with %s of %s", a.path, b.path, b.key)
			}
		}
	}
}

// inside tells whether path is dir or lies below it.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (c *Config) checkSizes(f *findings) {
	if clamped := min(max(c.DiskMaxUsedSpaceRatio, 10), 95); clamped != c.DiskMaxUsedSpaceRatio {
		f.warn("diskMaxUsedSpaceRatio", "%d is outside 10 to 95; %d is used", c.DiskMaxUsedSpaceRatio, clamped)
		c.DiskMaxUsedSpaceRatio = clamped
	}
	const overhead = 64 << 10 // topic, properties and the rest of a record
	if int64(c.MaxMessageSize)+overhead > c.MappedFileSizeCommitLog {
		f.warn("maxMessageSize", "a message of %d bytes does not fit into a commit log file of %d", c.MaxMessageSize, c.MappedFileSizeCommitLog)
	}
	if c.FileReservedTime == 0 {
		f.warn("fileReservedTime", "0: every full file is deleted at %s o'clock", c.DeleteWhen)
	}
	if c.DiskSpaceCleanForciblyRatio > c.DiskSpaceWarningLevelRatio {
		f.warn("diskSpaceCleanForciblyRatio", "%d is above diskSpaceWarningLevelRatio %d: messages are refused before space is made", c.DiskSpaceCleanForciblyRatio, c.DiskSpaceWarningLevelRatio)
	}
}

func checkHours(s string) error {
	_, err := parseHours(s)
	return err
}

func checkDelayLevels(s string) error {
	_, err := parseDelayLevels(s)
	return err
}

// checkAddresses accepts a list of host:port, or nothing.
func checkAddresses(s string) error {
	for _, addr := range splitList(s) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("%q is not host:port", addr)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
			return fmt.Errorf("%q is not host:port", addr)
		}
	}
	return nil
}
