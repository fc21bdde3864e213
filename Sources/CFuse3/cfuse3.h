#ifndef CDMFS_CFUSE3_H
#define CDMFS_CFUSE3_H

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#endif
