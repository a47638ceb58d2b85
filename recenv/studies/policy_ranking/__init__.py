"""Policy ranking: does a fitted simulator rank policies as the true world does?"""
