// A master whose host went down asks its slaves for the end of its log before it takes anything new.

package broker

import (
	"context"
	"path/filepath"

	"rmqctl/broker/config"
	"rmqctl/broker/ha"
	"rmqctl/broker/ha/decide"
)

// leftRunning tells whether the store was not closed by its last user. It is asked before the store is opened.
func (b *Broker) leftRunning(cfg *config.Config) bool {
	abort := cfg.AbortFile
	if abort == "" {
		abort = filepath.Join(cfg.StorePathRootDir, "abort")
	}
	_, err := b.o.FS.Stat(abort)
	return err == nil
}

// recall gives slaves the time to give back what this log has lost. That can be only when the system under a running broker
// ended: a broker that was killed has lost nothing, and with SYNC_FLUSH no slave ever had more than the disk.
func (b *Broker) recall(ctx context.Context, cfg *config.Config) error {
	now := bootID()
	before := b.epochs.Booted(now)
	if !b.crashed || before == "" || before == now || cfg.FlushDiskType == config.SyncFlush {
		return nil
	}
	ln := b.haListener
	if b.haListener = nil; ln == nil {
		var err error
		if ln, err = b.openPort(cfg, cfg.HAListenPort); err != nil {
			return err
		}
	}
	r := ha.Recall{
		Log: b.store, Epochs: b.epochs, Self: b.haIdentity(cfg, 0), Logger: b.log.With("part", "ha"), Clock: b.o.Clock,
		OnNewer: func(epoch int64, slave decide.Identity) { go b.deposed(slave.Addr, epoch) },
	}
	gained := r.Run(ctx, ln)
	b.log.Info("the host went down while this broker ran: slaves were asked for the end of the log", "regained", gained, "end", b.store.MaxPhysical())
	return ctx.Err()
}
