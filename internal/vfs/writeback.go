package vfs

// WriteBack hands n dirty bytes of f from off on to the disk and waits, where the system can do that. Only Sync makes them
// survive a power cut; this keeps a later Sync from having to carry them.
func WriteBack(f File, off, n int64) error {
	if w, ok := f.(interface{ writeBack(off, n int64) error }); ok {
		return w.writeBack(off, n)
	}
	return nil
}
