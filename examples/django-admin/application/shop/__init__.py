"""A bookshop: authors and books, which Django's admin keeps."""
