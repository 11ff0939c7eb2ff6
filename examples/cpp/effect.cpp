// SPDX-License-Identifier: MIT
// An audio effect, as a host of plug-ins would call it: a callback gets buffers of 64 to 512 frames, one
// model step each frame, and must be done before the next buffer is due. Raw float32 samples in and out.
//
//   effect model.unrolled < dry.f32 > wet.f32
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <unrolled.hpp>

namespace {

class Effect {
 public:
  explicit Effect(const char* path) : model_(path), stream_(model_) {
    const auto in = stream_.input(0);
    const auto out = stream_.output(0);
    if (in.rank != 2 || in.shape[1] != 1 || out.rank != 2 || out.shape[1] != 1 ||
        in.dtype != UNROLLED_FLOAT32 || out.dtype != UNROLLED_FLOAT32) {
      throw std::runtime_error("expected a model from one sample to one sample");
    }
  }

  // On the audio thread: no memory is taken, nothing is waited for.
  void process(float* samples, std::size_t frames) {
    for (std::size_t i = 0; i < frames; ++i) {
      float wet;
      stream_.step(&samples[i], &wet);
      samples[i] = wet;
    }
  }

 private:
  unrolled_c::Model model_;
  unrolled_c::Stream stream_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: effect model.unrolled < dry.f32 > wet.f32\n");
    return 2;
  }
  try {
    Effect effect(argv[1]);
    // Hosts change the size of their buffers as they like.
    constexpr std::size_t kSizes[] = {64, 128, 512, 256, 65};
    float buffer[512];
    for (std::size_t turn = 0;; ++turn) {
      const std::size_t read = std::fread(buffer, sizeof(float), kSizes[turn % std::size(kSizes)], stdin);
      if (read == 0) return 0;
      effect.process(buffer, read);
      if (std::fwrite(buffer, sizeof(float), read, stdout) != read) return 1;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "effect: %s\n", error.what());
    return 1;
  }
}
