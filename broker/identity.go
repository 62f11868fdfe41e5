// Whose store a directory holds: a broker refuses another's.

package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"rmqctl/broker/config"
	"rmqctl/internal/vfs"
)

// identityFile lies in the store's root and says whose store it is. RocketMQ does not know it and leaves it alone.
const identityFile = "rmqctl-identity.json"

// identity is who a store belongs to.
type identity struct {
	Cluster string `json:"cluster"`
	Broker  string `json:"brokerName"`
	ID      int64  `json:"brokerId"`
}

func (i identity) String() string { return fmt.Sprintf("%s/%s/%d", i.Cluster, i.Broker, i.ID) }

func identityOf(c *config.Config) identity {
	return identity{c.BrokerClusterName, c.BrokerName, c.BrokerID}
}

// ErrForeignStore: the store directory belongs to another broker.
var ErrForeignStore = errors.New("the store belongs to another broker")

// checkIdentity refuses a store that another broker has written, before anything in it is touched.
func checkIdentity(fsys vfs.FS, c *config.Config) error {
	name := filepath.Join(c.StorePathRootDir, identityFile)
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("whose store is it: %w", err)
	}
	var was identity
	if err := json.Unmarshal(b, &was); err != nil {
		return fmt.Errorf("whose store is it: %s: %w", name, err)
	}
	me := identityOf(c)
	if _, err := fsys.Stat(filepath.Join(c.StorePathRootDir, keptName)); err == nil {
		was.ID = me.ID // a role that was changed: files may have been exchanged to match it
	}
	if was != me {
		return fmt.Errorf("%w: %s was written by %s (cluster/brokerName/brokerId), this broker is %s; set storePathRootDir to this broker's own directory, or, to hand the messages over on purpose, delete %s",
			ErrForeignStore, c.StorePathRootDir, was, me, name)
	}
	return nil
}

// writeIdentity marks the store as this broker's.
func writeIdentity(fsys vfs.FS, c *config.Config) error {
	b, err := json.Marshal(identityOf(c))
	if err != nil {
		return err
	}
	name := filepath.Join(c.StorePathRootDir, identityFile)
	if old, err := vfs.ReadFile(fsys, name); err == nil && string(old) == string(b)+"\n" {
		return nil
	}
	return vfs.WriteFileAtomic(fsys, name, append(b, '\n'), 0o640)
}
