/* The names of classic TensorRT 11, answered by the library of TensorRT-RTX 1.7, whose ABI is that of 11. It checks the
 * version that its caller was compiled for; each call is passed on with the version that the library itself has. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

static void *symbol(const char *library, const char *name) {
  void *handle = dlopen(getenv(library), RTLD_NOW | RTLD_GLOBAL);
  void *found = handle ? dlsym(handle, name) : 0;
  if (!found) abort();
  return found;
}
#define RTX(type, name) ((type)symbol("FORWARD_TENSORRT", name))
#define PARSER(type, name) ((type)symbol("FORWARD_PARSER", name))
static int version(void) { return RTX(int (*)(void), "getInferLibVersion")(); }

int getNvOnnxParserVersion(void) { return PARSER(int (*)(void), "getNvOnnxParserVersion")(); }
void *createInferBuilder_INTERNAL(void *logger, int asked) {
  return RTX(void *(*)(void *, int), "createInferBuilder_INTERNAL")(logger, version());
}
void *createInferRuntime_INTERNAL(void *logger, int asked) {
  return RTX(void *(*)(void *, int), "createInferRuntime_INTERNAL")(logger, version());
}
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int asked) {
  return PARSER(void *(*)(void *, void *, int), "createNvOnnxParser_INTERNAL")(network, logger, getNvOnnxParserVersion());
}
void *getBuilderPluginRegistry(int capability) {
  return RTX(void *(*)(int), "getBuilderPluginRegistry")(capability);
}
void *getPluginRegistry(void) { return RTX(void *(*)(void), "getPluginRegistry")(); }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int asked) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int asked) { return 0; }
_Bool initLibNvInferPlugins(void *logger, const char *space) { return 1; }
