# The CUDA backend: built where the toolkit and NCCL's header are found, unless TSR_CUDA says otherwise. The CPU build is
# complete without it. cuBLASLt and NCCL are opened when a GPU is used and not before (layers/cuda/libraries.h), so the
# program starts as fast as without them, and also where they are missing.
set(TSR_CUDA_FOUND OFF)
set(TSR_CUDA_SOURCES "")
if(TSR_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  find_path(TSR_NCCL_INCLUDE nccl.h HINTS /usr/local/cuda/include)
  if(CMAKE_CUDA_COMPILER AND TSR_NCCL_INCLUDE)
    set(TSR_CUDA_FOUND ON)
  else()
    message(STATUS "CUDA toolkit or nccl.h not found: building the CPU backend only")
  endif()
elseif(TSR_CUDA)
  find_path(TSR_NCCL_INCLUDE nccl.h HINTS /usr/local/cuda/include REQUIRED)
  set(TSR_CUDA_FOUND ON)
endif()

if(TSR_CUDA_FOUND)
  # 9.0a: H100, H200 and nothing else. Others compile and run, without what those add: -DCMAKE_CUDA_ARCHITECTURES="80;90".
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a)
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_CUDA_STANDARD 17)
  file(GLOB TSR_CUDA_SOURCES CONFIGURE_DEPENDS layers/cuda/*.c layers/cuda/*.cu layers/cuda/kernels/*.cu
       parallel/cuda/*.c parallel/cuda/*.cu runtime/cuda/*.c)
endif()

function(tsr_use_cuda target)
  # Kernels for 9.0a are chosen on a device of 9.0 only if they are what it would run.
  if("90a" IN_LIST CMAKE_CUDA_ARCHITECTURES AND NOT "90" IN_LIST CMAKE_CUDA_ARCHITECTURES)
    target_compile_definitions(${target} PRIVATE TSR_CUDA_SM90A=1)
  endif()
  target_compile_definitions(${target} PUBLIC $<BUILD_INTERFACE:TSR_HAVE_CUDA=1>)
  # Which cuBLASLt: the one whose header we compile against.
  target_compile_definitions(${target} PRIVATE TSR_CUBLASLT_SONAME="libcublasLt.so.${CUDAToolkit_VERSION_MAJOR}"
                             TSR_NCCL_SONAME="libnccl.so.2" TSR_CUDA_LIBRARIES="${CUDAToolkit_LIBRARY_DIR}")
  target_include_directories(${target} PRIVATE ${TSR_NCCL_INCLUDE})
  # Quoted: it may be a list.
  target_include_directories(${target} PUBLIC "$<BUILD_INTERFACE:${CUDAToolkit_INCLUDE_DIRS}>")
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo --expt-relaxed-constexpr
                         -Xcompiler=-Wall,-Wextra$<$<BOOL:${TSR_WERROR}>:,-Werror>
                         $<$<BOOL:${TSR_WERROR}>:-Werror=all-warnings>>)
  target_link_libraries(${target} PUBLIC CUDA::cudart_static stdc++ ${CMAKE_DL_LIBS})
endfunction()
