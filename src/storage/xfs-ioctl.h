/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xfs-ioctl.h: what is used of XFS's own ioctls, after ioctl_xfs_fsgeometry(2) and the kernel's xfs_fs.h. Their header is in
 * a package of its own that nothing else here needs.
 */
#ifndef STORAGE_XFS_IOCTL_H
#define STORAGE_XFS_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

/* XFS_IOC_FSGEOMETRY in its first version. */
struct xfs_geometry {
    uint32_t blocksize, rtextsize, agblocks, agcount, logblocks, sectsize, inodesize, imaxpct;
    uint64_t datablocks, rtblocks, rtextents, logstart;
    unsigned char uuid[16];
    uint32_t sunit, swidth;
    int32_t version;
    uint32_t flags, logsectsize, rtsectsize, dirblocksize;
};
#define XFS_IOC_GEOMETRY_V1 _IOR('X', 100, struct xfs_geometry)
#define XFS_FLAG_REFLINK (1u << 20)

struct xfs_growfs_data {
    uint64_t newblocks;
    uint32_t imaxpct;
};
#define XFS_IOC_GROW_DATA _IOW('X', 110, struct xfs_growfs_data)

#endif
