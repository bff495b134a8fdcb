#pragma once
#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/audio_fifo.h>
#include <libavutil/avutil.h>
#include <libavutil/channel_layout.h>
#include <libavutil/frame.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>
#include <libavutil/pixfmt.h>
#include <libavutil/samplefmt.h>
#include <libswresample/swresample.h>
#include <libswscale/swscale.h>

// Macros with arguments, which the importer does not see.
static const int weir_AVERROR_EAGAIN = AVERROR(EAGAIN);
static const int weir_AVERROR_EOF = AVERROR_EOF;
static const int weir_AVERROR_ENOMEM = AVERROR(ENOMEM);
static const int64_t weir_AV_NOPTS_VALUE = AV_NOPTS_VALUE;
