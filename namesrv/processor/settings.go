// Key-value configuration and the name server's own settings.

package processor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// putKV. Asked by: tools. It is answered when the file has it.
func (p *Processors) putKV(x *remoting.Exchange, q *protocol.PutKVConfigRequest) (*protocol.Empty, error) {
	if q.Namespace == "" || q.Key == "" {
		return nil, protocol.Errorf(protocol.SystemError, "namespace or key is null")
	}
	if err := p.KV.Put(q.Namespace, q.Key, q.Value); err != nil {
		return nil, err
	}
	p.Log.Info("key-value configuration set", "namespace", q.Namespace, "key", q.Key, "remote", x.Conn.RemoteAddr())
	return nil, nil
}

// getKV. Asked by: tools.
func (p *Processors) getKV(_ *remoting.Exchange, q *protocol.KVConfigRequest) (*protocol.GetKVConfigResponse, error) {
	v, ok := p.KV.Get(q.Namespace, q.Key)
	if !ok {
		return nil, protocol.Errorf(protocol.QueryNotFound, "No config item, Namespace: %s Key: %s", q.Namespace, q.Key)
	}
	return &protocol.GetKVConfigResponse{Value: v}, nil
}

// deleteKV. Asked by: tools. Deleting what is not there is fine.
func (p *Processors) deleteKV(x *remoting.Exchange, q *protocol.KVConfigRequest) (*protocol.Empty, error) {
	if q.Namespace == "" || q.Key == "" {
		return nil, protocol.Errorf(protocol.SystemError, "namespace or key is null")
	}
	if err := p.KV.Delete(q.Namespace, q.Key); err != nil {
		return nil, err
	}
	p.Log.Info("key-value configuration deleted", "namespace", q.Namespace, "key", q.Key, "remote", x.Conn.RemoteAddr())
	return nil, nil
}

// kvNamespace. Asked by: tools.
func (p *Processors) kvNamespace(x *remoting.Exchange, q *protocol.KVListRequest) (*protocol.Empty, error) {
	table, ok := p.KV.Namespace(q.Namespace)
	if !ok {
		return nil, protocol.Errorf(protocol.QueryNotFound, "No config item, Namespace: %s", q.Namespace)
	}
	x.ReplyBody(protocol.Marshal(&protocol.KVTable{Table: table}))
	return nil, nil
}

// getConfig. Asked by: tools.
func (p *Processors) getConfig(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	x.ReplyBody([]byte(p.Config.Properties()))
	return nil, nil
}

// updateConfig. Asked by: tools. RocketMQ answers success for keys it does not know or cannot change; here every key
// takes effect, or none does and the answer says why.
func (p *Processors) updateConfig(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	props, err := conf.ParseProperties(bytes.NewReader(x.Request.Body), "request")
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "%v", err)
	}
	values := map[string]string{}
	for _, s := range props {
		if p.Config.Load().Blacklisted(s.Key) {
			return nil, protocol.Errorf(protocol.NoPermission, "Can not update config in black list.")
		}
		values[s.Key] = s.Value
	}
	if len(values) == 0 {
		return nil, nil
	}
	if err := p.Config.Update(values); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "%v", err)
	}
	p.Log.Info("configuration changed", "keys", values, "remote", x.Conn.RemoteAddr())
	return nil, p.saveConfig(values)
}

// saveConfig writes what was changed, and only that, into the configuration file.
func (p *Processors) saveConfig(values map[string]string) error {
	path := p.Config.Load().ConfigStorePath
	if path == "" {
		return nil
	}
	old, err := vfs.ReadFile(p.FS, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("changed, but not kept: %w", err)
	}
	text, err := p.Config.EditFile(string(old), values)
	if err != nil {
		return fmt.Errorf("changed, but not kept: %w", err)
	}
	if err := p.FS.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("changed, but not kept: %w", err)
	}
	if err := vfs.WriteFileAtomic(p.FS, path, []byte(text), 0o640); err != nil {
		return fmt.Errorf("changed, but not kept: %w", err)
	}
	return nil
}
