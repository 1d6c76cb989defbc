package spool

import "os"

// startWriting does nothing: package syscall has no SyncFileRange here.
func startWriting(*os.File, int64, int64) {}
